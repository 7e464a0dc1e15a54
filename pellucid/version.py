"""The version, of the package and in files that it writes."""

__version__ = "0.2.0"
