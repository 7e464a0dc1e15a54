"""The concatenation of two or more inputs, as in Inception blocks and U-Nets.

Fused forms: FusedConcat (fuse/single_layers.py) and DenseBlock (fuse/dense_block.py) in training; DenseBlockRun
(fuse/inference/runs.py) in prediction.
"""
# Callers may not check argument types.
# pyright: reportUnnecessaryIsInstance=false, reportUnknownMemberType=false

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, cast

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check_whole
from pellucid.layers.base import Layer, Mode, Params, Shape, Trait
from pellucid.layers.checks import check_axis


class ConcatCache(NamedTuple):
    """Cache of Concat: its inputs."""

    xs: tuple[Tensor, ...]


@dataclass(frozen=True)
class Concat(Layer):
    """Concatenate tensors along an axis; each input receives its part of dy.

    `axis`: 0 is the batch axis, 1 the channel axis. The sizes of all other axes must be equal.
    Source: Szegedy et al. 2015, figure 2.
    """

    # NEW_OUTPUT: newly allocated, so other layers may overwrite it.
    traits: ClassVar[Trait] = Trait.LINEAR | Trait.MULTIPLE_INPUTS | Trait.NEW_OUTPUT

    axis: int = 1

    def __post_init__(self) -> None:
        """Raise PellucidError for an invalid hyperparameter."""
        check_whole(self, axis=self.axis)

    def init(self, shape: tuple[Shape, ...], rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the output shape, in which the sizes along the axis are summed."""
        if len(shape) < 2 or not all(isinstance(input_shape, tuple) for input_shape in shape):
            raise PellucidError(f"Concat takes two or more inputs, not {shape}")
        sample_axis = self.axis - 1
        for input_shape in shape:
            check_axis(self, self.axis, input_shape)
            if len(input_shape) != len(shape[0]) or any(
                size != first_size
                for i, (size, first_size) in enumerate(zip(input_shape, shape[0], strict=True))
                if i != sample_axis
            ):
                raise PellucidError(f"Concat: shapes {shape} may differ only along axis {self.axis}")
        total = sum(input_shape[sample_axis] for input_shape in shape)
        return {}, (*shape[0][:sample_axis], total, *shape[0][sample_axis + 1 :])

    def forward(self, params: Params, x: tuple[Tensor, ...], mode: Mode) -> tuple[Tensor, ConcatCache]:
        """Concatenate x1, x2, ... along the axis."""
        return torch.cat(x, self.axis), ConcatCache(x)

    def backward(self, params: Params, cache: ConcatCache, dy: Tensor) -> tuple[tuple[Tensor, ...], Params]:
        """Return each input's part of dy."""
        return cast("tuple[Tensor, ...]", dy.split([x.shape[self.axis] for x in cache.xs], self.axis)), {}
