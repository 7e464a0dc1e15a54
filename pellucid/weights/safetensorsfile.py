"""Safetensors: a header of JSON that gives each tensor's dtype, shape and place, then the bytes."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.weights.fault import Fault, quoted, refusing

_HEADER = 16 << 20  # bytes
_TENSORS = 50_000


def read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file; PellucidError unless header and bytes agree without gap or overlap."""
    import safetensors.torch

    damage = (safetensors.SafetensorError, RuntimeError, ValueError, LookupError, TypeError, AttributeError)
    with refusing(path, "safetensors file", (*damage, OverflowError)):
        names = _names(path)
        # Read whole: a mapped file would change with the file, and each get_tensor looks through the whole header.
        found = safetensors.torch.load(path.read_bytes())
        for name, tensor in found.items():
            if not has_valid_booleans(tensor):
                raise Fault(f"has truth values at {quoted(name)} that are neither 0 nor 1")
        return {name: found[name] for name in names}


def has_valid_booleans(tensor: Tensor) -> bool:
    """Return whether each truth value of a tensor is 0 or 1; of other numbers, True."""
    return tensor.dtype is not torch.bool or not bool((tensor.view(torch.uint8) > 1).any())


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
    if len(names) > _TENSORS:
        raise Fault(f"holds {len(names)} tensors, above the limit of {_TENSORS}")
    promised = 8 + length + max(table[name]["data_offsets"][1] for name in names)
    if promised != path.stat().st_size:
        raise Fault(f"promises {promised} bytes, but has {path.stat().st_size}")
    return names


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise Fault(f"has {quoted(twice)} twice in its header")
    return found
