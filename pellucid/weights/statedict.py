"""From what a PyTorch file describes to its named tensors."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pellucid.weights.described import View
from pellucid.weights.fault import Fault, quoted
from pellucid.weights.safetensorsfile import has_valid_booleans

# Where trainers put the weights among the rest of a checkpoint; the first that is there is taken.
_WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "net",
    "network",
    "params",
    "weights",
    "state_dict_ema",
)
_DEPTH = 4
_SLACK = 2  # tensors may share storage, as tied weights do, so together they may be larger than the file
_ALONE = "save the state dict of the model alone"


def views_of(root: Any, size: int) -> dict[str, View]:
    """Return the named tensors of a checkpoint: `root` itself, or the dict that it holds as "state_dict" or the like.

    Plain values beside tensors, such as an epoch's number, are left out. size: of the file, in bytes.
    Raises Fault when there are none, or something else among them, or more bytes than the file can mean.
    """
    if type(root) is View:
        raise Fault("holds one tensor without a name", _ALONE)
    table = _unwrapped(root)
    found: dict[str, View] = {}
    for name, value in table.items():
        if type(value) is View and type(name) is str:
            found[name] = value
        elif value is not None and type(value) not in (bool, int, float, str):
            what = "no text as the name of a tensor" if type(value) is View else f"a {type(value).__name__}, no tensor"
            raise Fault(f"has, at {quoted(str(name))}, {what}", _ALONE)
    total = sum(view.numel * view.storage.dtype.itemsize for view in found.values())
    if total > _SLACK * size:
        raise Fault(f"describes tensors of {total} bytes in a file of {size}")
    return found


def assemble(views: Mapping[str, View], data: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return contiguous tensors that share no memory; data: the bytes of each storage, by its key."""
    taken: set[str] = set()
    result: dict[str, Tensor] = {}
    for name, view in views.items():
        key, dtype = view.storage.key, view.storage.dtype
        raw = data[key]
        tensor = raw.view(dtype).as_strided(view.shape, view.strides, view.offset)
        if key in taken or not tensor.is_contiguous():
            tensor = tensor.clone(memory_format=torch.contiguous_format)
        if not has_valid_booleans(tensor):
            raise Fault(f"has truth values at {quoted(name)} that are neither 0 nor 1")
        taken.add(key)
        result[name] = tensor
    return result


def _unwrapped(root: Any) -> dict[Any, Any]:
    table = root
    for _ in range(_DEPTH):
        if type(table) is not dict:
            break
        if any(type(value) is View for value in table.values()):
            return table
        inner = next((name for name in _WRAPPERS if type(table.get(name)) is dict), None)
        if inner is None:
            names = ", ".join(quoted(str(name), 20) for name in list(table)[:5])
            raise Fault(f"holds no tensors by name, but {names or 'an empty dict'}", _ALONE)
        table = table[inner]
    raise Fault(f"holds a {type(table).__name__}, no dict of tensors", _ALONE)
