"""Checks of arguments, and conversion of values in files and command lines to annotated types."""
