"""Dropout."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check_within
from pellucid.layers.base import Layer, Mode, Params, Shape, Trait


class DropoutCache(NamedTuple):
    """Cache of Dropout: the mask of kept values, and their factor: 1 / (1 - rate), or 1 in evaluation mode."""

    mask: Tensor  # bool, of x's shape, or (N, C, 1, 1) if whole channels are dropped
    scale: Tensor  # 0-d


@dataclass(frozen=True)
class Dropout(Layer):
    """Set each value to 0 with probability `rate` in training mode, and scale the others to keep the mean.

    x and y are of any shape. With `channels`, all values of a channel of an example are kept or dropped together. In
    evaluation mode, y = x. The mask is drawn from `mode.rng`; training mode without a generator raises PellucidError.
    Source: Srivastava et al. 2014, section 4, scaled in training as in section 10; whole channels: Tompson et al.
    2015, section 3.2.
    """

    traits: ClassVar[Trait] = Trait.ELEMENTWISE

    rate: float = 0.5
    channels: bool = False

    def __post_init__(self) -> None:
        """Raise PellucidError for an invalid hyperparameter."""
        check_within(self, 0.0, 1.0, rate=self.rate)
        if self.rate == 1:
            raise PellucidError("Dropout: rate=1 drops every value; use a rate below 1")

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the unchanged shape."""
        return {}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, DropoutCache]:
        """Compute y = x m / (1 - rate), where each m is 1 with probability 1 - rate, otherwise 0."""
        if not mode.train:
            mask = torch.ones((), dtype=torch.bool, device=x.device).expand(x.shape)  # only one value is stored
            return x, DropoutCache(mask, x.new_ones(()))
        if mode.rng is None:
            raise PellucidError("Dropout draws at random in training mode; give it Mode(train=True, rng=generator)")
        mask_shape = (*x.shape[:2], *(1,) * (x.dim() - 2)) if self.channels else x.shape
        draws = torch.rand(mask_shape, generator=mode.rng, device=mode.rng.device)  # in [0, 1)
        mask = (draws >= self.rate).to(x.device)
        scale = x.new_full((), 1 / (1 - self.rate))  # filled on the device, not copied to it
        return x * mask * scale, DropoutCache(mask, scale)

    def backward(self, params: Params, cache: DropoutCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = dy m / (1 - rate)."""
        return dy * cache.mask * cache.scale, {}

    def onnx(self, nodes: Any) -> None:
        """Write the ONNX node Dropout, which returns its input unchanged in evaluation mode."""
        nodes.last("Dropout", nodes.x, nodes.number("ratio", self.rate))
