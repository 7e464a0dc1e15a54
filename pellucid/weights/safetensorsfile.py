"""Safetensors files: a JSON header with the dtype, shape and byte offsets of each tensor, then the bytes."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.base.limits import MAX_SAFETENSORS_HEADER_BYTES, MAX_SAFETENSORS_TENSORS
from pellucid.weights.fault import FileFault, file_errors, quoted


def read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file; raises PellucidError unless they fill it without gaps or overlaps."""
    import safetensors.torch

    damage_errors = (safetensors.SafetensorError, RuntimeError, ValueError, LookupError, TypeError, AttributeError)
    with file_errors(path, "safetensors file", (*damage_errors, OverflowError)):
        names = _tensor_names(path)
        # Read into memory: tensors of a memory-mapped file would change with the file, and each call of get_tensor
        # searches the whole header (140,000 scalars: 16 s).
        tensors = safetensors.torch.load(path.read_bytes())
        for name, tensor in tensors.items():
            if not has_valid_booleans(tensor):
                raise FileFault(f"has booleans at {quoted(name)} that are neither 0 nor 1")
        return {name: tensors[name] for name in names}


def has_valid_booleans(tensor: Tensor) -> bool:
    """Return whether all bytes of a boolean tensor are 0 or 1; True for other dtypes."""
    return tensor.dtype is not torch.bool or not bool((tensor.view(torch.uint8) > 1).any())


def _tensor_names(path: Path) -> list[str]:
    """Return the names of the tensors in the order of the header; raises FileFault for duplicates."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MAX_SAFETENSORS_HEADER_BYTES:
            raise FileFault(f"has a header of {length} bytes, above the limit of {MAX_SAFETENSORS_HEADER_BYTES}")
        header = file.read(length)
    try:
        entries = json.loads(header, object_pairs_hook=_unique_dict)
    except RecursionError as error:
        raise FileFault("has a header that is nested too deeply") from error
    if type(entries) is not dict:
        raise FileFault("has a header that is not a JSON object")
    names = [name for name in entries if name != "__metadata__"]
    if not names:
        raise FileFault("contains no tensors", "give a file that has weights")
    if len(names) > MAX_SAFETENSORS_TENSORS:
        raise FileFault(f"contains {len(names)} tensors, above the limit of {MAX_SAFETENSORS_TENSORS}")
    declared = 8 + length + max(entries[name]["data_offsets"][1] for name in names)
    if declared != path.stat().st_size:
        raise FileFault(f"declares {declared} bytes, but has {path.stat().st_size}")
    return names


def _unique_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        duplicate = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise FileFault(f"has {quoted(duplicate)} twice in its header")
    return values
