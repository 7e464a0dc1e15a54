"""Checks of the values of arguments; each raises PellucidError."""

import sys


def is_number(value: object) -> bool:
    """Return whether a value is a finite int or float, not a bool, in the range of floats."""
    # Comparisons, because math.isfinite raises OverflowError for integers beyond the range of floats.
    maximum = sys.float_info.max
    return isinstance(value, int | float) and not isinstance(value, bool) and -maximum <= value <= maximum
