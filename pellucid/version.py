"""The version, which files that Pellucid writes name."""

__version__ = "0.1.0"
