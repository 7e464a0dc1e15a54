"""The version, recorded in files that Pellucid writes."""

__version__ = "0.1.0"
