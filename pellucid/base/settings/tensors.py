"""Conversion of arrays and lists of numbers to tensors."""

import warnings
from os import PathLike
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.text import shown, value_range

NUMBER_KINDS = "biufc"  # of NumPy's dtypes: bool, integers, unsigned integers, floats, complex numbers
UNSIGNED_DTYPES = (torch.uint16, torch.uint32, torch.uint64)  # PyTorch has few operations for these


def as_tensor(values: Any, name: str) -> Tensor:
    """Return an array, a tensor or nested lists of numbers as a tensor, which shares its memory where possible.

    Arrays that no tensor can share are copied: views with negative strides such as `x[::-1]`, other byte orders, and
    extended precision, which becomes float64. name: of the values, in messages. Raises PellucidError for anything but
    numbers, for entries of different shapes and for masked values.
    """
    if isinstance(values, Tensor):
        check_dense(values, name)
        return values.detach()
    if isinstance(values, str | PathLike):
        text = shown(str(cast(object, values)))
        raise PellucidError(f"{name} is {text}, not an array of numbers; read a picture with pellucid.load_image")
    if _has_masked_values(values):
        raise PellucidError(f"{name}: some values are masked; replace them by numbers with .filled(...)")
    array = _numbers(values, name)
    if array.dtype in (np.longdouble, np.clongdouble):
        array = array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if any(stride < 0 or stride % array.itemsize for stride in array.strides):
        array = array.copy()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # inputs are never written to
        return torch.as_tensor(array)


def as_targets(values: Any, name: str, dtype: torch.dtype) -> Tensor:
    """Return targets by `as_tensor`: floats as `dtype`, and unsigned integers of more than 8 bits as int64."""
    targets = as_tensor(values, name)
    if targets.is_floating_point():
        return targets.to(dtype)
    return targets.to(torch.int64) if targets.dtype in UNSIGNED_DTYPES else targets


def as_indices(values: Any, count: int, name: str) -> Tensor:
    """Return the indices of some of `count` examples as a tensor (n,) int64; raise PellucidError for other values."""
    indices = as_tensor(values, f"{name}: indices").reshape(-1)
    if not len(indices):
        return indices.long()
    if indices.is_floating_point() or indices.dtype in (torch.bool, torch.complex64, torch.complex128):
        kind = str(indices.dtype).removeprefix("torch.")
        raise PellucidError(
            f"{name}: indices are {kind}; give whole numbers, such as numpy.flatnonzero(mask) for a mask"
        )
    low, high = int(indices.long().min()), int(indices.long().max())
    if low < 0 or high >= count:
        raise PellucidError(
            f"{name}: {value_range('index', 'indices', indices.long())}, but there are 0 to {count - 1}"
        )
    return indices.long()


def check_dense(x: Tensor, name: str) -> None:
    """Raise PellucidError for a tensor that has no values, or does not store them as a dense array."""
    if x.is_meta:
        raise PellucidError(f"{name} is a tensor on the device meta, without values; create it on the CPU or a GPU")
    if x.is_nested:
        raise PellucidError(
            f"{name} is a nested tensor; convert it with .to_padded_tensor(0.0), or give each shape as a separate batch"
        )
    if x.layout is not torch.strided:
        layout = str(x.layout).removeprefix("torch.")
        raise PellucidError(f"{name} is a tensor with the layout {layout}; convert it with .to_dense()")


def _has_masked_values(values: Any) -> bool:
    """Return whether a masked array, alone or in nested lists, has masked values."""
    if isinstance(values, list | tuple):
        return any(map(_has_masked_values, cast("list[Any]", values)))
    return isinstance(values, np.ma.MaskedArray) and bool(np.ma.is_masked(values))


def _numbers(values: Any, name: str) -> np.ndarray[Any, Any]:
    """Return values as an array of numbers, also an array of Python objects that are all numbers."""
    try:
        array = np.asarray(values)
        if array.dtype == object:
            array = np.asarray(array.tolist())
    except (TypeError, ValueError, RuntimeError) as error:
        reason = _reason_not_numbers(values)
        if not reason and isinstance(error, ValueError):
            reason = "its entries have different shapes; give each shape as a separate batch"
        raise PellucidError(f"{name} is not an array of numbers: {reason or ' '.join(str(error).split())}") from error
    if array.dtype.kind not in NUMBER_KINDS:
        raise PellucidError(f"{name} is not an array of numbers: {_reason_not_numbers(values)}")
    return array


def _reason_not_numbers(values: Any, verb: str = "is") -> str:
    """Return why values are not numbers, such as "it contains None"; "" if all are numbers or arrays of numbers."""
    if isinstance(values, np.ndarray) and values.dtype.kind not in "OSU":
        return "" if values.dtype.kind in NUMBER_KINDS else f"its dtype is {values.dtype}"
    elements = values.tolist() if isinstance(values, np.ndarray) else values
    if isinstance(elements, list | tuple):
        reasons = (_reason_not_numbers(element, "contains") for element in cast("list[Any]", elements))
        return next(filter(None, reasons), "")
    is_number = isinstance(elements, Tensor) or np.asarray(elements).dtype.kind in NUMBER_KINDS
    return "" if is_number else f"it {verb} {shown(elements)}"
