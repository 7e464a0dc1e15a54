"""Safetensors: a header of JSON that gives each tensor's dtype, shape and place, then the bytes."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from torch import Tensor

from pellucid.weights.fault import Fault, quoted, refusing

_HEADER = 16 << 20  # bytes: some 150,000 tensors


def read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file; PellucidError unless header and bytes agree without gap or overlap."""
    import safetensors

    damage = (safetensors.SafetensorError, RuntimeError, ValueError, LookupError, TypeError, AttributeError)
    with refusing(path, "safetensors file", (*damage, OverflowError)):
        names = _names(path)
        with safetensors.safe_open(path, framework="pt") as file:
            # The library maps the file into memory: a copy stays what it is when somebody writes to the file.
            return {name: file.get_tensor(name).clone() for name in names}


def _names(path: Path) -> list[str]:
    """Return the tensors' names in the order of the header, in which each may stand once."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _HEADER:
            raise Fault(f"has a header of {length} bytes, above the limit of {_HEADER}")
        header = file.read(length)
    try:
        table = json.loads(header, object_pairs_hook=_unique)
    except RecursionError as error:
        raise Fault("has a header that is nested too deeply") from error
    if type(table) is not dict:
        raise Fault("has a header that is not a table")
    names = [name for name in table if name != "__metadata__"]
    if not names:
        raise Fault("holds no tensors", "give a file that has weights")
    return names


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise Fault(f"has {quoted(twice)} twice in its header")
    return found
