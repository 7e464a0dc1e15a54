"""Comparison of the tensors of a network with those of a file, by path."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.weights.fault import quoted

_MAX_LISTED = 5  # differences in the message


@dataclass(frozen=True)
class Mismatch:
    """One difference: the tensor at `path` in network and file, such as "float32 64x3x7x7", or None if missing."""

    path: str
    wanted: str | None
    found: str | None

    def __str__(self) -> str:
        """Return the difference as text."""
        name = quoted(self.path, 200)
        if self.found is None:
            return f"{name} is missing"
        if self.wanted is None:
            return f"{name} is not in the network"
        return f"{name} is {self.found}, not {self.wanted}"


class MismatchError(PellucidError):
    """A file whose tensors differ in names, shapes or dtypes from the network's; `mismatches` has all differences."""

    def __init__(self, source: str | os.PathLike[str], mismatches: tuple[Mismatch, ...]) -> None:
        rest = len(mismatches) - _MAX_LISTED
        more = f"; and {rest} more, which --debug lists" if rest > 0 else ""
        named = "; ".join(str(each) for each in mismatches[:_MAX_LISTED]) + more
        super().__init__(f"{os.fspath(source)} does not fit the network: {named}; give the file of this network")
        self.mismatches = mismatches
        for each in mismatches[_MAX_LISTED:]:
            self.add_note(str(each))  # shown in tracebacks, and so with --debug


def match(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[Mismatch]:
    """Return all missing tensors, surplus tensors, and tensors of another shape or dtype, in this order.

    expected: only paths, shapes and dtypes are read, so its tensors may be on the device "meta".
    """
    missing = [Mismatch(path, kind(tensor), None) for path, tensor in expected.items() if path not in found]
    surplus = [Mismatch(path, None, kind(tensor)) for path, tensor in found.items() if path not in expected]
    both = [(path, tensor, found[path]) for path, tensor in expected.items() if path in found]
    shapes = [Mismatch(path, kind(a), kind(b)) for path, a, b in both if a.shape != b.shape]
    dtypes = [Mismatch(path, kind(a), kind(b)) for path, a, b in both if a.shape == b.shape and a.dtype != b.dtype]
    return missing + surplus + shapes + dtypes


def require_match(source: str | os.PathLike[str], expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Raise MismatchError, which lists all differences, unless `found`, of the file `source`, matches `expected`."""
    mismatches = match(expected, found)
    if mismatches:
        raise MismatchError(source, tuple(mismatches))


def kind(tensor: Tensor) -> str:
    """Return a tensor's dtype and shape, as "float32 64x3x7x7" or "int64 number"."""
    return f"{str(tensor.dtype).removeprefix('torch.')} {'x'.join(map(str, tensor.shape)) or 'number'}"
