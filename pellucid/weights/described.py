"""What the object streams of PyTorch's files may describe: storages, tensors in them, and the few known names.

A name of Python is looked up in the table `NAMES` and nowhere else, and what a stream "calls" is a function of this
file: so a stream can build nothing else, whatever it names.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch

from pellucid.weights.fault import Fault


@dataclass(frozen=True)
class Storage:
    """A run of `numel` numbers that stands elsewhere in the file under `key`."""

    key: str
    dtype: torch.dtype
    numel: int


@dataclass(frozen=True)
class View:
    """A tensor: where its first number stands in the storage, its shape, and the strides in numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def numel(self) -> int:
        """Return how many numbers the tensor has."""
        return prod(self.shape)


@dataclass(frozen=True)
class Maker:
    """A known name that a stream may apply to arguments."""

    make: Callable[[tuple[Any, ...]], Any]


def _ordered(args: tuple[Any, ...]) -> dict[Any, Any]:
    """Build what Python 2 and 3 write for an ordered dict: no arguments, or a list of pairs."""
    result: dict[Any, Any] = {}
    if len(args) > 1 or (args and type(args[0]) is not list):
        raise Fault("builds an ordered dict of something else than pairs")
    for pair in args[0] if args else []:
        if type(pair) not in (list, tuple) or len(pair) != 2:
            raise Fault("builds an ordered dict of something else than pairs")
        set_item(result, pair[0], pair[1])
    return result


def _view(args: tuple[Any, ...]) -> View:
    """Build a tensor of (storage, offset, shape, strides, and what matters to training only)."""
    if not 4 <= len(args) <= 7 or type(args[0]) is not Storage or type(args[1]) is not int:
        raise Fault("describes a tensor by something else than storage, offset, shape and strides")
    storage, offset, shape, strides = args[:4]
    if type(shape) is not tuple or type(strides) is not tuple or len(shape) != len(strides) or len(shape) > 32:
        raise Fault("describes a tensor whose shape and strides do not agree")
    for number in (offset, *shape, *strides):
        if type(number) is not int or not 0 <= number < 1 << 40:
            raise Fault("describes a tensor by a negative or absurd offset, size or stride")
    view = View(storage, offset, shape, strides)
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if view.numel and last >= storage.numel:
        raise Fault(f"describes a tensor that reaches number {last} of a storage of {storage.numel}")
    return view


def _parameter(args: tuple[Any, ...]) -> View:
    if not args or type(args[0]) is not View:
        raise Fault("describes a parameter that is no tensor")
    return args[0]


def _size(args: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(args) != 1 or type(args[0]) is not tuple:
        raise Fault("describes a shape by something else than a tuple")
    return args[0]


_DTYPES = {
    "Float": torch.float32, "Double": torch.float64, "Half": torch.float16, "BFloat16": torch.bfloat16,
    "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
    "Bool": torch.bool,
}  # fmt: skip
NAMES: dict[str, torch.dtype | Maker] = {
    **{f"{module} {name}Storage": dtype for module in ("torch", "torch.cuda") for name, dtype in _DTYPES.items()},
    "collections OrderedDict": Maker(_ordered),
    "torch._utils _rebuild_tensor": Maker(_view),
    "torch._utils _rebuild_tensor_v2": Maker(_view),
    "torch._utils _rebuild_parameter": Maker(_parameter),
    "torch Size": Maker(_size),
}


def set_item(target: Any, key: Any, value: Any) -> None:
    """Store an item in a dict that a stream builds; Fault when it is no dict, or the key no text or number."""
    if type(target) is not dict:
        raise Fault("stores an item in something else than a dict")
    # Other keys are refused: hashing tuples inside tuples can take for ever.
    if type(key) is not str and not (type(key) is int and abs(key) < 1 << 40):
        raise Fault("has a dict whose key is neither a text nor a number")
    target[key] = value
