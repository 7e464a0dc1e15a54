"""Operators with positions of values: their choice by size, and values read from them, written to them, or marked."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.settings.checks import check_known
from pellucid.layers.base import Mode, Params, Trait, expanded_zeros
from pellucid.operators.base import TensorLayer
from pellucid.operators.moves import InputCache, InputsCache

# The positions that functions of PyTorch find along an axis of x, of size 1 or `count` in the result, by name.
SEARCHES: dict[str, Callable[[Tensor, int, int], Tensor]] = {
    "argmax": lambda x, axis, count: x.argmax(axis, keepdim=True),
    "argmin": lambda x, axis, count: x.argmin(axis, keepdim=True),
    "max": lambda x, axis, count: x.max(axis, keepdim=True).indices,
    "min": lambda x, axis, count: x.min(axis, keepdim=True).indices,
    "median": lambda x, axis, count: x.median(axis, keepdim=True).indices,
    "kthvalue": lambda x, axis, count: x.kthvalue(count, axis, keepdim=True).indices,
    "largest": lambda x, axis, count: x.topk(count, axis).indices,
    "smallest": lambda x, axis, count: x.topk(count, axis, largest=False).indices,
    "ascending": lambda x, axis, count: x.sort(axis).indices,
    "descending": lambda x, axis, count: x.sort(axis, descending=True).indices,
    "cummax": lambda x, axis, count: x.cummax(axis).indices,
    "cummin": lambda x, axis, count: x.cummin(axis).indices,
}


@dataclass(frozen=True)
class Positions(TensorLayer):
    """Find positions along an axis, int64: of the maximum, of the `count` largest values, of all in order.

    search: a name in SEARCHES. They do not change with small changes of x, so there is no gradient.
    """

    traits: ClassVar[Trait] = Trait.ANY_AXES

    search: str
    axis: int
    count: int = 1

    def __post_init__(self) -> None:
        """Raise PellucidError for an unknown search."""
        check_known("Positions: search", self.search, SEARCHES)

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, InputCache]:
        """Find the positions."""
        return SEARCHES[self.search](x, self.axis, self.count), InputCache(expanded_zeros(x))

    def backward(self, params: Params, cache: InputCache, dy: Tensor | None) -> tuple[None, Params]:
        """Return no gradient."""
        return None, {}


@dataclass(frozen=True)
class OneHot(TensorLayer):
    """Return 1 at the position that x gives along a new last axis of `count` positions, and 0 elsewhere, int64."""

    traits: ClassVar[Trait] = Trait.ANY_AXES

    count: int

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, InputCache]:
        """Mark the positions."""
        return F.one_hot(x.long(), self.count), InputCache(expanded_zeros(x))

    def backward(self, params: Params, cache: InputCache, dy: Tensor | None) -> tuple[None, Params]:
        """Return no gradient."""
        return None, {}


class GatherCache(NamedTuple):
    """Cache of Gather: zeros in the shape of the values, and the positions."""

    x: Tensor  # expanded from a single stored value
    positions: Tensor


@dataclass(frozen=True)
class Gather(TensorLayer):
    """Return the values at positions of an axis: y[i, j] = x[i, positions[i, j]] for the last axis of a matrix.

    Negative positions count from the end.
    """

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.COPIES_VALUES
    constants: ClassVar[tuple[int, ...]] = (1,)  # the positions get no gradient

    axis: int

    def forward(self, params: Params, x: tuple[Tensor, Tensor], mode: Mode) -> tuple[Tensor, GatherCache]:
        """Return the values."""
        values, positions = x
        positions = positions.long()
        positions = torch.where(positions < 0, positions + values.shape[self.axis], positions)
        return values.gather(self.axis, positions), GatherCache(expanded_zeros(values), positions)

    def backward(self, params: Params, cache: GatherCache, dy: Tensor) -> tuple[tuple[Tensor, None], Params]:
        """Return, for each value, the sum of dy over its occurrences."""
        return (dy.new_zeros(cache.x.shape).scatter_add(self.axis, cache.positions, dy), None), {}


@dataclass(frozen=True)
class Scatter(TensorLayer):
    """Replace the values at positions of an axis, the second input, by those of a third input, or by `value`.

    The third input has the shape of the positions.
    """

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.COPIES_VALUES | Trait.MULTIPLE_INPUTS
    constants: ClassVar[tuple[int, ...]] = (1,)  # the positions get no gradient

    axis: int
    value: float | None = None

    def forward(self, params: Params, x: tuple[Tensor, ...], mode: Mode) -> tuple[Tensor, InputsCache]:
        """Return x with the other values at the positions."""
        values, positions, *others = x
        replacement = others[0] if self.value is None else self.value
        return values.scatter(self.axis, positions.long(), replacement), InputsCache(x)  # type: ignore[arg-type]

    def backward(self, params: Params, cache: InputsCache, dy: Tensor) -> tuple[tuple[Tensor | None, ...], Params]:
        """Return dy with 0 at the positions, and dy at the positions for the values that replace others."""
        _, positions, *others = cache.xs
        index = positions.long()
        dx = dy.scatter(self.axis, index, 0.0)
        return (dx, None, dy.gather(self.axis, index)) if others else (dx, None), {}
