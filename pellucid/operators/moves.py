"""Operators that reshape, permute, slice, expand, pad, join and index tensors without changing the values."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.layers.base import Mode, Params, Trait
from pellucid.operators.base import TensorLayer


class InputCache(NamedTuple):
    """Cache of an operator that needs its input, or only the input's shape."""

    x: Tensor


class InputsCache(NamedTuple):
    """Cache of an operator with several inputs: all of them."""

    xs: tuple[Tensor, ...]


@dataclass(frozen=True)
class ToShape(TensorLayer):
    """Change the shape, with the values in the same row-major order.

    The first `before` and the last `after` axes have the same sizes in y as in x. sizes: the sizes of the axes of y
    between them; one size may be -1, inferred from the others.
    """

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.COPIES_VALUES | Trait.LINEAR

    sizes: tuple[int, ...]
    before: int = 0
    after: int = 0

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, InputCache]:
        """Return x in the new shape."""
        return x.reshape((*x.shape[: self.before], *self.sizes, *x.shape[x.dim() - self.after :])), InputCache(x)

    def backward(self, params: Params, cache: InputCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return dy in the shape of x."""
        return dy.reshape(cache.x.shape), {}


@dataclass(frozen=True)
class Permute(TensorLayer):
    """Reorder the axes: axis i of y is axis `axes[i]` of x."""

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.COPIES_VALUES | Trait.LINEAR

    axes: tuple[int, ...]

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, InputCache]:
        """Return x with its axes reordered."""
        return x.permute(self.axes), InputCache(x)

    def backward(self, params: Params, cache: InputCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return dy with the axes in the order of x."""
        inverse = sorted(range(len(self.axes)), key=self.axes.__getitem__)
        return dy.permute(inverse), {}


@dataclass(frozen=True)
class Slice(TensorLayer):
    """Return x[start:stop:step] along an axis; stop: None for the end of the axis."""

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.COPIES_VALUES | Trait.LINEAR

    axis: int
    start: int
    stop: int | None = None
    step: int = 1

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, InputCache]:
        """Return the slice of x."""
        return x[(slice(None),) * self.axis + (slice(self.start, self.stop, self.step),)], InputCache(x)

    def backward(self, params: Params, cache: InputCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return dy at the positions of the slice, and zeros elsewhere."""
        dx = dy.new_zeros(cache.x.shape)
        dx[(slice(None),) * self.axis + (slice(self.start, self.stop, self.step),)] = dy
        return dx, {}


@dataclass(frozen=True)
class Select(TensorLayer):
    """Return the values at one index of an axis, without the axis."""

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.COPIES_VALUES | Trait.LINEAR

    axis: int
    index: int

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, InputCache]:
        """Return the values of x at the index."""
        return x.select(self.axis, self.index), InputCache(x)

    def backward(self, params: Params, cache: InputCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return dy at the index, and zeros elsewhere."""
        dx = dy.new_zeros(cache.x.shape)
        dx.select(self.axis, self.index).copy_(dy)
        return dx, {}


@dataclass(frozen=True)
class ReplaceSlice(TensorLayer):
    """Replace the slice [start:stop:step] of the first input along an axis with the second input."""

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.COPIES_VALUES | Trait.LINEAR | Trait.MULTIPLE_INPUTS

    axis: int
    start: int
    stop: int | None = None
    step: int = 1

    def forward(self, params: Params, x: tuple[Tensor, Tensor], mode: Mode) -> tuple[Tensor, InputsCache]:
        """Return the first input with the second input in the slice."""
        y = x[0].clone()
        y[self._slice_index()] = x[1]
        return y, InputsCache(x)

    def backward(self, params: Params, cache: InputsCache, dy: Tensor) -> tuple[tuple[Tensor, Tensor], Params]:
        """Return dy with zeros in the slice, and the slice of dy."""
        dx = dy.clone()
        dx[self._slice_index()] = 0
        return (dx, dy[self._slice_index()]), {}

    def _slice_index(self) -> tuple[slice, ...]:
        return (slice(None),) * self.axis + (slice(self.start, self.stop, self.step),)


@dataclass(frozen=True)
class ReplaceSelected(TensorLayer):
    """Replace the values of the first input at one index of an axis with the second input."""

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.COPIES_VALUES | Trait.LINEAR | Trait.MULTIPLE_INPUTS

    axis: int
    index: int

    def forward(self, params: Params, x: tuple[Tensor, Tensor], mode: Mode) -> tuple[Tensor, InputsCache]:
        """Return the first input with the second input at the index."""
        y = x[0].clone()
        y.select(self.axis, self.index).copy_(x[1])
        return y, InputsCache(x)

    def backward(self, params: Params, cache: InputsCache, dy: Tensor) -> tuple[tuple[Tensor, Tensor], Params]:
        """Return dy with zeros at the index, and the values of dy at the index."""
        dx = dy.clone()
        dx.select(self.axis, self.index).zero_()
        return (dx, dy.select(self.axis, self.index)), {}


@dataclass(frozen=True)
class Expand(TensorLayer):
    """Repeat the values along axes of size 1, and along new axes before the first one.

    sizes: the sizes of y; -1 keeps the size of x, and 0 means the number of examples: the size of the first axis of a
    second input, whose values are not read.
    """

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.COPIES_VALUES
    constants: ClassVar[tuple[int, ...]] = (1,)  # the second input gets no gradient

    sizes: tuple[int, ...]

    def forward(self, params: Params, x: Any, mode: Mode) -> tuple[Tensor, InputsCache]:
        """Return x, repeated."""
        xs: tuple[Tensor, ...] = x if isinstance(x, tuple) else (x,)
        return xs[0].expand([size or xs[-1].shape[0] for size in self.sizes]), InputsCache(xs)

    def backward(self, params: Params, cache: InputsCache, dy: Tensor) -> tuple[Any, Params]:
        """Return the sum of dy over the repetitions; the second input has no gradient."""
        dx = dy.sum_to_size(cache.xs[0].shape)
        return dx if len(cache.xs) == 1 else (dx, None), {}


@dataclass(frozen=True)
class Roll(TensorLayer):
    """Shift the values cyclically along axes, like torch.roll. Source: Liu et al. 2021, figure 4."""

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.COPIES_VALUES | Trait.LINEAR

    shifts: tuple[int, ...]
    axes: tuple[int, ...]

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, InputCache]:
        """Return x, shifted."""
        return torch.roll(x, self.shifts, self.axes), InputCache(x)

    def backward(self, params: Params, cache: InputCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return dy, shifted back."""
        return torch.roll(dy, [-shift for shift in self.shifts], self.axes), {}


@dataclass(frozen=True)
class Pad(TensorLayer):
    """Add positions with the number `value` at both ends of axes; negative counts remove positions.

    padding: (before, after) for the last axis, then for the second to last axis, and so on, as in PyTorch.
    """

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.COPIES_VALUES | Trait.LINEAR

    padding: tuple[int, ...]
    value: float = 0.0

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, InputCache]:
        """Return x, padded."""
        return torch.nn.functional.pad(x, self.padding, value=self.value), InputCache(x)

    def backward(self, params: Params, cache: InputCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return dy without the added positions."""
        return torch.nn.functional.pad(dy, [-count for count in self.padding]), {}


@dataclass(frozen=True)
class Stack(TensorLayer):
    """Join inputs of the same shape along a new axis."""

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.COPIES_VALUES | Trait.LINEAR | Trait.MULTIPLE_INPUTS

    axis: int

    def forward(self, params: Params, x: tuple[Tensor, ...], mode: Mode) -> tuple[Tensor, InputsCache]:
        """Return the inputs, joined."""
        return torch.stack(x, self.axis), InputsCache(x)

    def backward(self, params: Params, cache: InputsCache, dy: Tensor) -> tuple[tuple[Tensor, ...], Params]:
        """Return each input's part of dy."""
        return dy.unbind(self.axis), {}


@dataclass(frozen=True)
class Join(TensorLayer):
    """Concatenate inputs along any axis; Concat is for axes after the batch axis."""

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.COPIES_VALUES | Trait.LINEAR | Trait.MULTIPLE_INPUTS

    axis: int

    def forward(self, params: Params, x: tuple[Tensor, ...], mode: Mode) -> tuple[Tensor, InputsCache]:
        """Return the inputs, joined."""
        return torch.cat(x, self.axis), InputsCache(x)

    def backward(self, params: Params, cache: InputsCache, dy: Tensor) -> tuple[tuple[Tensor, ...], Params]:
        """Return each input's part of dy."""
        return tuple(dy.split([x.shape[self.axis] for x in cache.xs], self.axis)), {}


@dataclass(frozen=True)
class Index(TensorLayer):
    """Return the values at indices of an axis; the indices are a second input, whose axes replace that axis.

    The relative position bias of Liu et al. 2021, equation 4, is `Index(0)` of (table, indices). Indices may also be
    whole numbers of a floating dtype, as inputs of networks are. ignored: an index whose values receive no gradient.
    """

    traits: ClassVar[Trait] = Trait.ANY_AXES | Trait.COPIES_VALUES
    constants: ClassVar[tuple[int, ...]] = (1,)  # the indices get no gradient

    axis: int = 0
    ignored: int | None = None

    def forward(self, params: Params, x: tuple[Tensor, Tensor], mode: Mode) -> tuple[Tensor, InputsCache]:
        """Return the values at the indices; raises PellucidError for floats that are no indices."""
        values, input_indices = x
        indices = input_indices.long()
        if input_indices.is_floating_point() and not input_indices.is_meta:
            size = values.shape[self.axis]
            if not torch.equal(indices.to(input_indices), input_indices) or bool((indices.abs() >= size).any()):
                raise PellucidError(f"Index: indices must be whole numbers below {size}")
        return values[(slice(None),) * self.axis + (indices,)], InputsCache((values, indices))

    def backward(self, params: Params, cache: InputsCache, dy: Tensor) -> tuple[tuple[Tensor, None], Params]:
        """Return, for each index of the axis, the sum of dy over its occurrences in the second input."""
        values, indices = cache.xs
        flat_dy = dy.flatten(self.axis, self.axis + indices.dim() - 1) if indices.dim() else dy.unsqueeze(self.axis)
        size = values.shape[self.axis]
        dvalues = dy.new_zeros(values.shape).index_add(self.axis, indices.flatten() % size, flat_dy)
        if self.ignored is not None:
            dvalues = dvalues.index_fill(self.axis, torch.tensor(self.ignored, device=dy.device), 0.0)
        return (dvalues, None), {}
