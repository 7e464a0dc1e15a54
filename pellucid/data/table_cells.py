"""The cells of tables of labels: gaps, numbers, truth values and lists of labels; units in the names of columns."""

import re
from collections.abc import Sequence
from typing import Any

import torch

from pellucid.base.errors import PellucidError
from pellucid.base.text import shown
from pellucid.data.tables import LabelTable

TRUE, FALSE = ("1", "true", "yes", "1.0"), ("0", "false", "no", "0.0")
# As pandas reads and writes missing values; "none" in lower case may be a class.
GAPS = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "None", "NULL", "Null", "null")
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
_DECIMAL_POINT = re.compile(r"[+-]?[0-9]+\.[0-9]+")
_IN_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}[,.][0-9]{3}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")


def is_gap(cell: Any) -> bool:
    """Return whether a cell is empty, or has a text that marks a missing value."""
    return cell is None or (isinstance(cell, str) and (cell in GAPS or cell.lower() == "nan"))


def empty_error(where: str, column: str, cell: Any, advice: str) -> PellucidError:
    """Return the error for a gap. advice: what to write instead."""
    text = f" ({cell})" if cell else ""
    return PellucidError(f"{where}: {column!r:.40} is empty{text}; {advice}, or remove the row")


def number_of(cell: Any) -> float | None:
    """Return the finite number in a cell, with a decimal point or comma, otherwise None."""
    if isinstance(cell, str):
        text = cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell) else cell
        cell = float(text) if _NUMBER.fullmatch(text) else None
    if isinstance(cell, bool) or not isinstance(cell, int | float) or not abs(cell) <= torch.finfo(torch.float32).max:
        return None
    return float(cell)


def check_groups(table: LabelTable, column: str) -> None:
    """Raise PellucidError for a column of numbers whose commas, or points, may be decimal or group thousands.

    In a file with ";" between its cells, commas are decimal, and points may group thousands; in others, commas may. A
    number such as 0,5 or 0,125 has no groups, so that its mark is decimal in the whole column.
    """
    cells, mark_name, mark_pattern = table.column(column), "comma", _DECIMAL_COMMA
    if table.delimiter == ";":
        mark_name, mark_pattern = "point", _DECIMAL_POINT
    # refused, since a silent choice would make thousandths of prices, or a thousand times as much
    rows = [k for k, cell in enumerate(cells) if isinstance(cell, str) and mark_pattern.fullmatch(cell)]
    if rows and all(_IN_THOUSANDS.fullmatch(cells[k]) for k in rows):
        raise PellucidError(
            f"{table.row_names[rows[0]]}: {column!r:.40} is {shown(cells[rows[0]])}, whose {mark_name} may be decimal "
            "or group thousands; write the numbers of the column without groups, such as 1000 or 1000.5"
        )


def flag_of(cell: Any) -> bool | None:
    """Return the truth of a cell of a 0/1 column, otherwise None."""
    text = str(cell).lower()
    return True if text in TRUE else False if text in FALSE else None


def is_written_list(cell: Any) -> bool:
    """Return whether a cell is a list that pandas wrote as text, such as "['a', 'b']"."""
    return isinstance(cell, str) and cell.startswith("[") and cell.endswith("]")


def labels_in(cell: Any, separator: str) -> list[str]:
    """Return the labels in a cell: those of a list, also one that pandas wrote as "['a', 'b']", or separated ones."""
    if isinstance(cell, list):
        return [label for label in cell if label]
    text = cell[1:-1] if is_written_list(cell) else str(cell)
    parts = text.split() if separator == " " else text.split(separator)
    return [label for part in parts if (label := part.strip().strip("'\""))]


def unseparated_labels(cells: Sequence[Any], separator: str) -> set[str]:
    """Return the labels in cells with a separator that are not also a cell of their own."""
    texts = [str(cell) for cell in cells]
    return {label for text in texts if separator in text for label in labels_in(text, separator)} - {*texts}


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
