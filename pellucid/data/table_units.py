"""Units of numbers in the names of columns, such as weight_kg."""

import re

# Units after an underscore; any text in brackets is a unit too.
UNITS = (
    "ug", "mg", "g", "kg", "t", "lb", "oz", "um", "mm", "cm", "m", "km", "in", "ft", "px", "ms", "s", "sec", "min", "h",
    "days", "weeks", "months", "years", "yr", "ml", "l", "deg", "c", "k", "pct", "percent", "ppm", "eur", "usd", "mm2",
    "cm2", "m2", "hz", "w", "kw", "v", "pa", "kpa", "bar", "mpg", "kmh", "cells",
)  # fmt: skip
_UNIT = re.compile(r"(.*?)\s*(?:[(\[]\s*([^()\[\]]{1,20}?)\s*[)\]]|_([a-z]{1,7}[23]?))", re.IGNORECASE)


def name_and_unit(column: str) -> tuple[str, str]:
    """Return the name of a quantity and its unit: ("weight", "kg") for weight_kg, weight (kg) and weight [kg]."""
    match = _UNIT.fullmatch(column)
    if match is None or not match[1] or (match[3] and match[3].lower() not in UNITS):
        return column, ""
    return match[1].strip(" _"), match[2] or match[3]
