"""The values that a sweep tries for a key of a recipe: a list, or a range of numbers."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check, is_number
from pellucid.base.text import shown
from pellucid.recipe.toml import parse_value, toml_value
from pellucid.run.records import to_record

N_POINTS = 5  # points of a range of real numbers in a grid
N_DIGITS = 4  # significant digits of a drawn number, few enough for a command
MAX_VALUES = 10_000  # values of one key in a grid
_NUMBER = r"[-+]?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?"
_match_range = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(:log)?(?::(\d+))?").fullmatch


@dataclass(frozen=True)
class ValueList:
    """A list of values for a key of a recipe."""

    values: tuple[Any, ...]

    @property
    def grid(self) -> tuple[Any, ...]:
        """The values of a grid."""
        return self.values

    @property
    def values_to_check(self) -> tuple[Any, ...]:
        """The values that a recipe must accept."""
        return self.values

    def contains(self, value: Any) -> bool:
        """Return whether a value is one of the list, of the same type."""
        return any(type(value) is type(known) and value == known for known in self.values)

    def value_at(self, fraction: float) -> Any:
        """Return the value at a fraction (0 to 1) of the list."""
        return self.values[min(int(fraction * len(self.values)), len(self.values) - 1)]

    def to_json(self) -> dict[str, Any]:
        """Return the list as JSON values."""
        return {"values": list(self.values)}

    def __str__(self) -> str:
        """Return the values as text."""
        return ", ".join(map(toml_value, self.values))


@dataclass(frozen=True)
class ValueRange:
    """Numbers from low to high, both included; log: on a logarithmic scale; whole: whole numbers only."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    @property
    def grid(self) -> tuple[Any, ...]:
        """The values of a grid: all whole numbers or N_POINTS numbers; if `log`, `low` times powers of 2 or 10."""
        if not self.log:
            return self.spaced_values(int(self.high - self.low) + 1 if self.whole else N_POINTS)
        base = 2 if self.whole else 10
        count = math.floor(math.log(self.high / self.low, base) + 1e-9) + 1
        values = [self.round_value(self.low * base**k) for k in range(count)]
        return tuple(dict.fromkeys([*values, self.round_value(self.high)]))

    @property
    def values_to_check(self) -> tuple[Any, ...]:
        """The values that a recipe must accept."""
        return self.round_value(self.low), self.round_value(self.high)

    def spaced_values(self, count: int) -> tuple[Any, ...]:
        """Return `count` numbers from low to high at equal distances; equal whole numbers only once."""
        return tuple(dict.fromkeys(self._interpolate(k / (count - 1)) for k in range(count)))

    def contains(self, value: Any) -> bool:
        """Return whether a value is a number of the range."""
        is_in_range = is_number(value) and self.low <= value <= self.high
        return is_in_range and (type(value) is int or not self.whole)

    def value_at(self, fraction: float) -> Any:
        """Return the number at a fraction (0 to 1) of the range, extended by 1/2 at both ends for whole numbers."""
        if not self.whole:
            return self._interpolate(fraction)
        low, high = self.low - 0.5, self.high + 0.5
        value = low * (high / low) ** fraction if self.log else low + fraction * (high - low)
        return int(min(max(round(value), self.low), self.high))

    def to_json(self) -> dict[str, Any]:
        """Return the range as JSON values."""
        return {"low": self.low, "high": self.high, "log": self.log, "whole": self.whole}

    def __str__(self) -> str:
        """Return the range as text."""
        whole_text = "whole numbers " if self.whole else ""
        return f"{whole_text}{self.low:g} to {self.high:g}{', logarithmic' if self.log else ''}"

    def _interpolate(self, fraction: float) -> Any:
        low, high = self.low, self.high
        return self.round_value(low * (high / low) ** fraction if self.log else low + fraction * (high - low))

    def round_value(self, value: float) -> Any:
        """Return a number rounded to N_DIGITS digits or to a whole number, within the range."""
        if self.whole:
            return round(value)
        return min(max(float(f"{value:.{N_DIGITS}g}"), float(self.low)), float(self.high))


Values = ValueList | ValueRange


def read_values(requested: Any, where: str) -> Values:
    """Return the values of `--over KEY=...`, or of a list in Python; raises PellucidError, beginning with `where`.

    requested: "1e-4..1e-1:log", a range; "0..1:5", five numbers of a range; "sgd,adam" or a sequence, a list. A range
    whose ends are whole numbers may become a range of real numbers later, see `with_type_of`.
    """
    if isinstance(requested, ValueList | ValueRange):
        return requested
    if isinstance(requested, str):
        range_match = _match_range(requested.strip())
        if range_match is not None:
            low, high, log, count = range_match.groups()
            return _read_range(low, high, log, count, where)
        parts = [part.strip() for part in _split_at_commas(requested)]
        if not all(parts):
            raise PellucidError(f"{where}: {shown(requested)} has an empty value; write KEY=a,b,c or KEY=LOW..HIGH")
        values = [parse_value(part) for part in parts]
    elif isinstance(requested, Sequence) and not isinstance(requested, bytes):
        values = [value if not isinstance(value, tuple) else list(value) for value in requested]
    else:
        raise PellucidError(
            f"{where} takes a list of values, or a range such as '1e-4..1e-1:log', not {shown(requested)}"
        )
    texts = [_toml_text(value, where) for value in values]
    duplicate = next((text for k, text in enumerate(texts) if text in texts[:k]), None)
    if duplicate is not None:
        raise PellucidError(f"{where}: {duplicate} is given twice; give each value once")
    if not values:
        raise PellucidError(f"{where} has no value; give at least one")
    return ValueList(tuple(values))


def with_type_of(values: Values, example: Any, where: str) -> Values:
    """Return values with the type of a key.

    example: the key's value in the recipe that was read with the lowest of `values`. Raises PellucidError for a range
    if the key is not a number, or if it is a whole number and an end of the range is not.
    """
    if isinstance(values, ValueList):
        return values
    if not is_number(example):
        raise PellucidError(f"{where} takes no numbers, so no range; give a list, {where.rpartition(' ')[2]}=a,b")
    is_integer = type(example) is int
    if is_integer and not (values.low == int(values.low) and values.high == int(values.high)):
        raise PellucidError(f"{where} takes whole numbers; give whole numbers as the ends of its range")
    if not is_integer:
        return replace(values, low=float(values.low), high=float(values.high), whole=False)
    return replace(values, low=int(values.low), high=int(values.high), whole=True)


def values_from_json(table: Mapping[str, Any], where: str) -> Values:
    """Return the values that `to_json` described; raises PellucidError, beginning with `where`, for anything else."""
    values = to_record(table, ValueList if "values" in table else ValueRange, where)
    if isinstance(values, ValueList):
        check(bool(values.values), where, "at least one value", table)
        return values
    is_valid = values.low < values.high and (values.low > 0 or not values.log)
    ends = (values.low, values.high)
    check(is_valid and (not values.whole or all(end == int(end) for end in ends)), where, "a range of numbers", table)
    # JSON has the ends of a range of whole numbers without a decimal point; `to_record` made them floats.
    return replace(values, low=int(values.low), high=int(values.high)) if values.whole else values


def _read_range(low_text: str, high_text: str, log: str | None, count: str | None, where: str) -> Values:
    low, high = (parse_value(text.lstrip("+")) for text in (low_text, high_text))
    low, high = (float(x) if isinstance(x, str) else x for x in (low, high))  # .5 and 007 are not TOML
    if not low < high:
        raise PellucidError(f"{where}: {low_text}..{high_text} is not a range; its first number must be the smaller")
    if log and low <= 0:
        raise PellucidError(f"{where}: a logarithmic range must begin above 0, not at {low_text}")
    value_range = ValueRange(low, high, bool(log), type(low) is int and type(high) is int)
    if count is None:
        return value_range
    if not 2 <= int(count) <= MAX_VALUES:
        raise PellucidError(f"{where}: a range has from 2 to {MAX_VALUES:,} points, not {count}")
    return ValueList(value_range.spaced_values(int(count)))


def _split_at_commas(text: str) -> list[str]:
    """Return the parts between commas that are not inside brackets or quotes."""
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in "[{":
            depth += 1
        elif character in "]}":
            depth -= 1
        elif character == "," and depth == 0:
            parts.append("")
            continue
        parts[-1] += character
    return parts


def _toml_text(value: Any, where: str) -> str:
    try:
        return toml_value(value)
    except TypeError as error:
        raise PellucidError(f"{where}: {error}; give numbers, text, truth values and lists") from error
