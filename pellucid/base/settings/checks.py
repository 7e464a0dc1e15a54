"""Checks of arguments, such as hyperparameters; they raise PellucidError: "Dense: units must be ..., not VALUE"."""

import math
import operator
import sys
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, cast

from pellucid.base.errors import PellucidError, nearest
from pellucid.base.text import shown

T = TypeVar("T")
MAX_INTEGER = 2**63 - 1


def is_number(value: object) -> bool:
    """Return whether a value is an int or float, but not a bool, and in the range of finite floats."""
    # Compared with the limits, because math.isfinite raises OverflowError for integers beyond the range of floats.
    maximum = sys.float_info.max
    return isinstance(value, int | float) and not isinstance(value, bool) and -maximum <= value <= maximum


def check(condition: bool, subject: str, requirement: str, value: object) -> None:
    """Raise PellucidError, "SUBJECT must be REQUIREMENT, not VALUE", unless `condition` is True."""
    if not condition:
        raise PellucidError(f"{subject} must be {requirement}, not {shown(value)}")


def check_positive(owner: object, **values: Any) -> None:
    """Raise PellucidError unless the values are whole numbers (or pairs of them) of at least 1.

    owner: here and below, an object whose class name the message begins with, or the name of a function.
    """
    _check_at_least(owner, 1, values)


def check_not_negative(owner: object, **values: Any) -> None:
    """Raise PellucidError unless the values are whole numbers (or pairs of them) of at least 0."""
    _check_at_least(owner, 0, values)


def check_whole(owner: object, minimum: int = 1, **values: Any) -> None:
    """Raise PellucidError unless the values are single whole numbers of at least `minimum`."""
    for name, value in values.items():
        if type(value) is not int or value < minimum:
            raise _argument_error(owner, name, f"be a whole number of at least {minimum}", value)


def check_flag(owner: object, **values: Any) -> None:
    """Raise PellucidError unless the values are True or False.

    Without this check, `Dense(784, 30)` would set `bias` to 30.
    """
    for name, value in values.items():
        if type(value) is not bool:
            hint = "; the input size is not an argument" if type(value) is int and value > 1 else ""
            raise _argument_error(owner, name, "be True or False", value, hint)


def check_choice(owner: object, allowed: Iterable[Any], **values: Any) -> None:
    """Raise PellucidError unless the values are among the `allowed` values."""
    choices = tuple(allowed)
    for name, value in values.items():
        if value not in choices:
            hint = nearest(str(value), map(str, choices))
            raise _argument_error(owner, name, f"be one of {', '.join(map(str, choices))}", value, hint)


def check_known(subject: str, name: Any, known: Iterable[str]) -> None:
    """Raise PellucidError, "SUBJECT 'NAME'; did you mean 'x'?; known: x, y", unless `name` is among `known`."""
    names = list(known)
    if name not in names:
        hint = nearest(name, names) if isinstance(name, str) else ""
        raise PellucidError(f"{subject} {shown(name)}{hint}; known: {', '.join(names) or 'none'}")


def check_range(
    owner: object, low: float = 0.0, high: float = math.inf, exclude_low: bool = False, **values: Any
) -> None:
    """Raise PellucidError unless all values are numbers in [low, high), or in (low, high) if `exclude_low`."""
    for name, value in values.items():
        if not is_number(value) or not low <= value < high or (exclude_low and value == low):
            upper_bound = "" if math.isinf(high) else f" and below {high:g}"
            raise _argument_error(
                owner, name, f"be a number {'above' if exclude_low else 'of at least'} {low:g}{upper_bound}", value
            )


def check_within(owner: object, low: float, high: float, **values: Any) -> None:
    """Raise PellucidError unless the values are finite numbers from `low` to `high`."""
    for name, value in values.items():
        if type(value) not in (int, float) or not low <= value <= high or math.isinf(value):
            upper_bound = "" if math.isinf(high) else f" to {high}"
            raise _argument_error(owner, name, f"be a number from {low}{upper_bound}", value)


def check_above_zero(owner: object, high: float, **values: Any) -> None:
    """Raise PellucidError unless the values are numbers above 0 and at most `high`, or tuples of such numbers.

    Tuples may be nested; they must contain at least one number, but tuples inside them may be empty.
    """
    for name, value in values.items():
        numbers = _flatten_tuples(value)
        is_valid = all(type(number) in (int, float) and 0 < number <= high for number in numbers)
        if not is_valid or not numbers or any(map(math.isinf, numbers)):
            upper_bound = "" if math.isinf(high) else f" and at most {high:,}"
            requirement = "consist of numbers" if isinstance(value, tuple) else "be a number"
            raise _argument_error(owner, name, f"{requirement} above 0{upper_bound}", value)


def _check_at_least(owner: object, minimum: int, values: dict[str, Any]) -> None:
    for name, value in values.items():
        numbers = value if isinstance(value, tuple) and len(value) == 2 else (value,)
        if not all(type(number) is int and number >= minimum for number in numbers):
            requirement = f"be a whole number of at least {minimum} (or a pair of them, (height, width), for a window)"
            raise _argument_error(owner, name, requirement, value)


def _flatten_tuples(value: Any) -> list[Any]:
    """Return the values in nested tuples, or a list of the value itself."""
    if not isinstance(value, tuple):
        return [value]
    return [number for part in cast("tuple[Any, ...]", value) for number in _flatten_tuples(part)]


def _argument_error(owner: object, name: str, requirement: str, value: Any, hint: str = "") -> PellucidError:
    owner_name = owner if isinstance(owner, str) else type(owner).__name__
    return PellucidError(f"{owner_name}: {name} must {requirement}, not {value!r:.80}{hint}")


def integer(value: Any, subject: str, minimum: int, maximum: int = MAX_INTEGER) -> int:
    """Return `value` as an int from `minimum` to `maximum`; raises PellucidError for all other values and for bools.

    subject: the argument's name in the message, here and in the functions below.
    """
    try:
        number = minimum - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = minimum - 1
    bound = f"at most {maximum}" if number > maximum else f"at least {minimum}"
    check(minimum <= number <= maximum, subject, f"a whole number of {bound}", value)
    return number


def boolean(value: Any, subject: str) -> bool:
    """Return a bool or an int as a bool; raises PellucidError for other values."""
    check(isinstance(value, bool | int), subject, "True or False", value)
    return bool(value)


def instance_by_name(value: Any, base: type[T], known: Mapping[str, type[T]], subject: str) -> T:
    """Return `value` if it is an object of the class `base`; for a name in `known`, return a new object of its class.

    The new object has the default arguments. Raises PellucidError for other values.
    """
    if not isinstance(value, str):
        return instance(value, base, subject)
    check_known(f"no {subject}", value, known)
    return known[value]()


def instance(value: Any, base: type[T] | tuple[type[T], ...], subject: str) -> T:
    """Return `value` if it is an object of the class or classes `base`; raises PellucidError for other values."""
    if isinstance(value, base):
        return value
    if isinstance(value, type):
        name = value.__name__
        raise PellucidError(f"{subject} is the class {name}; give an object of it, such as {name}(...)")
    kinds = " or ".join(kind.__name__ for kind in (base if isinstance(base, tuple) else (base,)))
    raise PellucidError(f"{subject} must be of the class {kinds}, not {shown(value)}")


def instances(values: Any, base: type[T], subject: str) -> list[T]:
    """Return an iterable of objects of the class `base` as a list; raises PellucidError for other values."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise PellucidError(f"{subject} takes a list, [{base.__name__}(...), ...], not {shown(values)}")
    return [instance(value, base, f"{subject}[{index}]") for index, value in enumerate(cast(Iterable[Any], values))]
