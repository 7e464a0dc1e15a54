"""Comparison of a network's tensors with the tensors in a file, by path."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pellucid.base.errors import PellucidError
from pellucid.weights.fault import quoted

if TYPE_CHECKING:
    from torch import Tensor

_MAX_LISTED = 5  # differences in the message


@dataclass(frozen=True)
class Mismatch:
    """A difference at `path`: dtype and shape in the network (`expected`) and in the file (`found`), None if missing.

    Dtypes and shapes are texts such as "float32 64x3x7x7".
    """

    path: str
    expected: str | None
    found: str | None

    def __str__(self) -> str:
        """Return the difference as text."""
        name = quoted(self.path, 200)
        if self.found is None:
            return f"{name} is missing"
        if self.expected is None:
            return f"{name} is not in the network"
        return f"{name} is {self.found}, not {self.expected}"


class MismatchError(PellucidError):
    """Raised for a file whose tensors differ from the network's in names, shapes or dtypes; `mismatches` lists them."""

    def __init__(self, source: str | os.PathLike[str], mismatches: tuple[Mismatch, ...]) -> None:
        n_unlisted = len(mismatches) - _MAX_LISTED
        remark = f"; and {n_unlisted} more, which --debug lists" if n_unlisted > 0 else ""
        mismatch_text = "; ".join(str(mismatch) for mismatch in mismatches[:_MAX_LISTED]) + remark
        super().__init__(
            f"{os.fspath(source)} does not fit the network: {mismatch_text}; give the file of this network"
        )
        self.mismatches = mismatches
        for mismatch in mismatches[_MAX_LISTED:]:
            self.add_note(str(mismatch))  # shown in tracebacks, and therefore by --debug


def match(expected: "Mapping[str, Tensor]", found: "Mapping[str, Tensor]") -> list[Mismatch]:
    """Return all missing tensors, surplus tensors, and tensors of another shape or dtype, in this order.

    expected: only paths, shapes and dtypes are used, so its tensors may be on the device "meta".
    """
    missing = [Mismatch(path, dtype_and_shape(tensor), None) for path, tensor in expected.items() if path not in found]
    surplus = [Mismatch(path, None, dtype_and_shape(tensor)) for path, tensor in found.items() if path not in expected]
    pairs = [(path, tensor, found[path]) for path, tensor in expected.items() if path in found]
    shapes = [Mismatch(path, dtype_and_shape(a), dtype_and_shape(b)) for path, a, b in pairs if a.shape != b.shape]
    dtypes = [
        Mismatch(path, dtype_and_shape(a), dtype_and_shape(b))
        for path, a, b in pairs
        if a.shape == b.shape and a.dtype != b.dtype
    ]
    return missing + surplus + shapes + dtypes


def require_match(
    source: str | os.PathLike[str], expected: "Mapping[str, Tensor]", found: "Mapping[str, Tensor]"
) -> None:
    """Raise MismatchError unless `found`, the tensors of the file `source`, match `expected`."""
    mismatches = match(expected, found)
    if mismatches:
        raise MismatchError(source, tuple(mismatches))


def dtype_and_shape(tensor: "Tensor") -> str:
    """Return a tensor's dtype and shape, such as "float32 64x3x7x7", or "int64 number" for a scalar."""
    return f"{str(tensor.dtype).removeprefix('torch.')} {'x'.join(map(str, tensor.shape)) or 'number'}"
