"""The fully connected layer.

Fused forms: FusedDense (fuse/single_layers.py) in training.
"""

from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check_flag, check_whole
from pellucid.layers.base import Layer, Mode, Params, Shape, Trait
from pellucid.layers.initializers import check_initializer, draw


class DenseCache(NamedTuple):
    """Cache of Dense: its input, (N, ..., n_in)."""

    x: Tensor


@dataclass(frozen=True)
class Dense(Layer):
    """Multiply by a weight matrix and add a bias: y = x Wᵀ + b.

    x is (N, ..., n_in), y is (N, ..., units); `weight` is (units, n_in), `bias` is (units,). `pixels`: whether x may be
    images (N, H, W, n_in) with the channels last; the layer applies to each pixel.
    Source: Rumelhart, Hinton and Williams 1986; the backward pass is Nielsen 2015, equations BP2 to BP4.
    """

    # NEW_OUTPUT and NEW_DX: newly allocated, so other layers may overwrite them.
    traits: ClassVar[Trait] = Trait.LINEAR | Trait.WEIGHTED | Trait.LEARNS | Trait.NEW_OUTPUT | Trait.NEW_DX
    decayed: ClassVar[tuple[str, ...]] = ("weight",)

    units: int
    bias: bool = True
    init_weight: str = "he"
    init_bias: str = "zeros"
    pixels: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        """Raise PellucidError for an invalid hyperparameter."""
        check_whole(self, units=self.units)
        check_flag(self, bias=self.bias, pixels=self.pixels)
        check_initializer("Dense", self.init_weight)
        check_initializer("Dense", self.init_bias)

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Draw `weight` and `bias`; return them and the output shape (..., units)."""
        if not shape:
            raise PellucidError("Dense takes inputs of shape (..., n_in), not scalars")
        if len(shape) == 3 and not self.pixels:
            raise PellucidError(f"Dense takes vectors, not images of shape {tuple(shape)}; put Flatten before it")
        n_in = shape[-1]
        params = {"weight": draw(self.init_weight, (self.units, n_in), n_in, self.units, rng)}
        if self.bias:
            params["bias"] = draw(self.init_bias, (self.units,), n_in, self.units, rng)
        return params, (*shape[:-1], self.units)

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, DenseCache]:
        """Compute y = x Wᵀ + b."""
        return torch.nn.functional.linear(x, params["weight"], params.get("bias")), DenseCache(x)

    def backward(self, params: Params, cache: DenseCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = dy W, dW = dyᵀ x, db = the sum of dy over all rows."""
        return Dense.pull(self, params, cache, dy), self.parameter_gradients(cache, dy)

    def pull(self, params: Params, cache: DenseCache, dy: Tensor) -> Tensor:
        """Compute dx = dy W."""
        return dy @ params["weight"]

    def parameter_gradients(self, cache: DenseCache, dy: Tensor) -> Params:
        """Return dW = dyᵀ x and db = the sum of dy over all rows."""
        x, dy = flatten_rows(cache.x, dy)
        dweight = dy.t() @ x  # (units, n_in)
        return {"weight": dweight, "bias": dy.sum(0)} if self.bias else {"weight": dweight}


def flatten_rows(x: Tensor, dy: Tensor) -> tuple[Tensor, Tensor]:
    """Return x as (rows, n_in) and dy as (rows, units), with all axes before the last one flattened."""
    return (x, dy) if dy.dim() == 2 else (x.flatten(0, -2), dy.flatten(0, -2))
