"""Values of an ONNX graph: computed by a node of the network, or known before it runs."""

from dataclasses import dataclass

import torch
from torch import Tensor

BATCHES = (2, 3)  # numbers of examples for which shapes are computed: what is equal for both does not depend on it

Sizes = tuple[int, ...]


class Unreadable(Exception):  # noqa: N818 - it becomes an error with the file's name
    """A node that no layer implements; the message gives the reason."""


@dataclass(frozen=True, eq=False)
class Value:
    """A value of an ONNX graph, for each of the two numbers of examples in BATCHES.

    tensors: on the device "meta", or with values if these are known before the network runs. node: the name of the
    network's node that computes it, "" for a known value. key: of a known value, the name of the initializer in the
    file; "" for a constant that is not learned. form: how a learned value differs from that initializer. outer: how
    many positions come before the examples within the axis whose size is a multiple of their number: 17 if sequences of
    17 were joined to rows, and the examples are the faster index.
    """

    tensors: tuple[Tensor, Tensor]
    node: str = ""
    key: str = ""
    form: str = ""
    outer: int = 1

    @property
    def is_known(self) -> bool:
        """Whether the values are known before the network runs."""
        return not self.node

    @property
    def constant(self) -> Tensor | None:
        """The tensor, if it is known and does not depend on the number of examples."""
        one, other = self.tensors
        if not self.is_known:
            return None
        return one if one is other or (one.shape == other.shape and torch.equal(one, other)) else None

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
        """Whether the first axis, and no other one, is the axis of examples."""
        one, other = self.sizes
        return (one[:1], other[:1]) == (BATCHES[:1], BATCHES[1:]) and one[1:] == other[1:]

    @property
    def batch_axis(self) -> int | None:
        """The only axis whose size depends on the number of examples; None if there is none, or several."""
        one, other = self.sizes
        found = [axis for axis, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
        return found[0] if len(found) == 1 else None


def constant(tensor: Tensor, key: str = "") -> Value:
    """Return a known value that does not depend on the number of examples."""
    return Value((tensor, tensor), key=key)


def for_all_examples(value: Value) -> Tensor:
    """Return a known tensor, with size 1 for the axis of examples if it is the same for all of them."""
    one, other = value.tensors
    for axis, (size, second) in enumerate(zip(one.shape, other.shape, strict=False)):
        single = one.narrow(axis, 0, 1) if size else one
        if size != second and all(torch.equal(single.expand_as(x), x) for x in (one, other)):
            return single
    if value.constant is None:
        raise Unreadable("computes with the number of examples")
    return one


def empty(sizes: tuple[Sizes, Sizes], node: str, dtype: torch.dtype = torch.float32) -> Value:
    """Return a computed value."""
    one, other = (torch.empty(each, device="meta", dtype=dtype) for each in sizes)
    return Value((one, other), node)
