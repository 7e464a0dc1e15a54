"""Names of tensor elements, such as "dense2.weight[3, 17]", and the display of numbers as text and as bars."""

import math
import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from pellucid.base.errors import PellucidError, nearest
from pellucid.base.text import plural
from pellucid.layers.base import Shape

ELEMENT_NAME = re.compile(r"(?P<name>[^\[\]]*)(?:\[(?P<index>[^\[\]]*)\])?\s*")  # NAME or NAME[INDEX]
DIGITS = 6  # significant digits by default
TIMES = "\u00d7"
MINUS = "\u2212"
PRODUCT_SIGN = f" {TIMES} "


class Bar(NamedTuple):
    """A bar that begins in the middle of a table cell; left and width are in per cent of the cell."""

    side: str
    left: float
    width: float


def parse_name(text: str) -> tuple[str, tuple[int, ...] | None]:
    """Return name and index of a text such as "w[3, 17]", index None if absent; raises PellucidError if invalid."""
    match = ELEMENT_NAME.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise PellucidError(f"trace: {text!r} is not a tensor's name; write it as in 'dense2.weight[3, 17]'")
    name = match["name"].strip()
    index = match["index"]
    if index is None:
        return name, None
    words = [word.strip() for word in index.split(",") if word.strip()]
    if not all(re.fullmatch(r"-?\d+", word) for word in words):
        raise PellucidError(f"trace: [{index}] in {text!r} is not an index; write integers, one for each axis")
    return name, tuple(map(int, words))


def flat_index(name: str, index: tuple[int, ...], shape: Shape) -> int:
    """Return the flat index of an index; negative entries count from the end. Raises PellucidError if out of range."""
    if len(index) != len(shape):
        raise PellucidError(
            f"trace: {name} has {plural(len(shape), 'axis', 'axes')}, with shape {tuple(shape)}, not "
            f"{len(index)} as in {index}"
        )
    flat = 0
    for axis, (k, size) in enumerate(zip(index, shape, strict=True)):
        if not -size <= k < size:
            raise PellucidError(f"trace: {name} has no index {k} along axis {axis}, which goes from 0 to {size - 1}")
        flat = flat * size + k % size
    return flat


def unravel_index(index: int, shape: Shape) -> tuple[int, ...]:
    """Return the index along each axis for a flat index."""
    return tuple(map(int, np.unravel_index(index, tuple(shape))))


def label(name: str, index: int, shape: Shape) -> str:
    """Return "name[i, j]" for the flat index `index`, or only the name for a scalar."""
    return f"{name}[{', '.join(map(str, unravel_index(index, shape)))}]" if shape else name


def unknown_tensor_error(name: str, known: Iterable[str]) -> PellucidError:
    """Return the error for an unknown tensor, with the nearest known name."""
    known_names = list(known)
    hint = (
        nearest(name, known_names)
        or f"; there are {', '.join(known_names[:4])} and {max(0, len(known_names) - 4)} more"
    )
    return PellucidError(f"trace: no tensor {name!r}{hint}")


def brief(value: float, digits: int = DIGITS) -> str:
    """Return a number with `digits` significant digits and a typographic minus sign."""
    return f"{value:.{digits}g}".replace("-", MINUS) if value else "0"


def format_signed(value: float, digits: int) -> str:
    """Return a number with `digits` significant digits, always with its sign."""
    return f"{value:+.{digits}g}".replace("-", MINUS)


def bar(value: float, reach: float) -> Bar:
    """Return the bar of a value: right of the middle if positive, left if negative; `reach` fills half of the cell."""
    share = abs(value) / (reach or 1.0)
    width = 50 * min(share, 1.0) if math.isfinite(share) else 0.0
    return Bar("up", 50.0, width) if value >= 0 else Bar("down", 50 - width, width)
