"""Values of an ONNX graph: outputs of the network's nodes, and values that are known before the network runs."""

from dataclasses import dataclass

import torch
from torch import Tensor

BATCH_SIZES = (2, 3)  # shapes are computed for both; a size that is equal for both does not depend on the batch size

Sizes = tuple[int, ...]


class Unreadable(Exception):  # noqa: N818 - it becomes an error with the file's name
    """Raised for a node that no layer implements; the message contains the reason."""


@dataclass(frozen=True, eq=False)
class Value:
    """A value of an ONNX graph, for each of the two numbers of examples in BATCH_SIZES."""

    # tensors on the device "meta", or with values if these are known before the network runs
    tensors: tuple[Tensor, Tensor]
    node: str = ""  # the name of the network's node that outputs the value, "" for a known value
    # the name of the initializer from which a known value is computed, "" for a constant that is not learned
    key: str = ""
    derivation: str = ""  # the operators that compute a learned value from that initializer
    # for an axis that joins examples and other positions, the number of positions in its slower index: 17 if sequences
    # of 17 were joined to rows with the examples as the faster index
    outer_size: int = 1

    @property
    def is_known(self) -> bool:
        """Whether the values are known before the network runs."""
        return not self.node

    @property
    def constant(self) -> Tensor | None:
        """The tensor, if it is known and does not depend on the number of examples."""
        first, second = self.tensors
        if not self.is_known:
            return None
        return first if first is second or (first.shape == second.shape and torch.equal(first, second)) else None

    @property
    def sizes(self) -> tuple[Sizes, Sizes]:
        """The shapes for both numbers of examples."""
        return tuple(self.tensors[0].shape), tuple(self.tensors[1].shape)

    @property
    def rank(self) -> int:
        """The number of axes."""
        return self.tensors[0].dim()

    @property
    def is_float(self) -> bool:
        """Whether the values are floating-point numbers."""
        return self.tensors[0].is_floating_point()

    @property
    def has_batch(self) -> bool:
        """Whether the first axis is the batch axis, and no other size depends on the batch size."""
        first, second = self.sizes
        return (first[:1], second[:1]) == (BATCH_SIZES[:1], BATCH_SIZES[1:]) and first[1:] == second[1:]

    @property
    def batch_axis(self) -> int | None:
        """The axis whose size depends on the number of examples; None if no axis or several axes do."""
        first, second = self.sizes
        batch_axes = [axis for axis, (a, b) in enumerate(zip(first, second, strict=True)) if a != b]
        return batch_axes[0] if len(batch_axes) == 1 else None


def constant(tensor: Tensor, key: str = "") -> Value:
    """Return a known value that does not depend on the number of examples."""
    return Value((tensor, tensor), key=key)


def broadcastable_tensor(value: Value) -> Tensor:
    """Return a known tensor, with size 1 for the batch axis if its values are the same for all examples.

    Raises Unreadable for other values that depend on the number of examples.
    """
    first, last = value.tensors
    for axis, (size, second) in enumerate(zip(first.shape, last.shape, strict=False)):
        single = first.narrow(axis, 0, 1) if size else first
        if size != second and all(torch.equal(single.expand_as(x), x) for x in (first, last)):
            return single
    if value.constant is None:
        raise Unreadable("computes with the number of examples")
    return first


def computed_value(sizes: tuple[Sizes, Sizes], node: str, dtype: torch.dtype = torch.float32) -> Value:
    """Return a value of the given sizes that the node outputs."""
    first, second = (torch.empty(shape, device="meta", dtype=dtype) for shape in sizes)
    return Value((first, second), node)
