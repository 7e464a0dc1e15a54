"""Names of numbers: "dense2.weight[3, 17]"."""

import re
from collections.abc import Iterable

from pellucid.errors import PellucidError, nearest
from pellucid.layers.base import Shape

NUMBER = re.compile(r"(?P<name>[^\[\]]*)(?:\[(?P<index>[^\[\]]*)\])?\s*")


def split(text: str) -> tuple[str, tuple[int, ...] | None]:
    """Return the tensor's name and the index, None where there is none."""
    found = NUMBER.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None:
        raise PellucidError(f"trace: {text!r} names no number; write it as in 'dense2.weight[3, 17]'")
    name, index = found["name"].strip(), found["index"]
    if index is None:
        return name, None
    words = [word.strip() for word in index.split(",") if word.strip()]
    if not all(re.fullmatch(r"-?\d+", word) for word in words):
        raise PellucidError(f"trace: [{index}] in {text!r} is no index; write whole numbers, one for each axis")
    return name, tuple(map(int, words))


def place_of(name: str, index: tuple[int, ...], shape: Shape) -> int:
    """Return the flat position of an index, negative ones from the end; PellucidError if out of range."""
    if len(index) != len(shape):
        raise PellucidError(
            f"trace: {name} has {len(shape)} axes, of sizes {tuple(shape)}, not {len(index)} as in {index}"
        )
    place = 0
    for axis, (at, size) in enumerate(zip(index, shape, strict=True)):
        if not -size <= at < size:
            raise PellucidError(f"trace: {name} has no {at} along axis {axis}, which goes from 0 to {size - 1}")
        place = place * size + at % size
    return place


def label(name: str, place: int, shape: Shape) -> str:
    """Return "name[i, j]" for a flat position; the name alone for a scalar."""
    index = []
    for size in reversed(shape):
        place, at = divmod(place, size)
        index.append(str(at))
    return f"{name}[{', '.join(reversed(index))}]" if shape else name


def unknown(what: str, name: str, known: Iterable[str]) -> PellucidError:
    """Return the error for an unknown tensor, with the nearest known name."""
    listed = list(known)
    hint = nearest(name, listed) or f"; there are {', '.join(listed[:4])} and {max(0, len(listed) - 4)} more"
    return PellucidError(f"{what}: no tensor {name!r}{hint}")
