"""Conv2d with its arguments resolved once, and without dx where nobody asks for it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from pellucid.layers.base import Layer, Mode, Params, Shape, pair
from pellucid.layers.conv2d import Conv2d, Conv2dCache

_backward = torch.ops.aten.convolution_backward.default


@dataclass(frozen=True)
class FusedConv2d(Layer):
    """Stand for a Conv2d whose padding is the same on opposite edges; `need_dx=False` leaves dx out."""

    layer: Conv2d
    need_dx: bool

    @cached_property
    def _ahead(self) -> tuple[Any, ...]:
        layer = self.layer
        left, _, top, _ = layer.edges()
        return pair(layer.stride), (top, left), pair(layer.dilation), layer.groups

    @cached_property
    def _back(self) -> tuple[Any, ...]:
        stride, padding, dilation, groups = self._ahead
        biases = [self.layer.filters] if self.layer.bias else None
        return biases, stride, padding, dilation, False, (0, 0), groups, (self.need_dx, True, self.layer.bias)

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Initialise the layer."""
        return self.layer.init(shape, rng)

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, Conv2dCache]:
        """Run the convolution."""
        return torch.conv2d(x, params["weight"], params.get("bias"), *self._ahead), Conv2dCache(x)

    def backward(self, params: Params, cache: Conv2dCache, dy: Tensor) -> tuple[Tensor | None, Params]:
        """Compute the gradients of weight and bias, and dx if it is needed."""
        dx, dweight, dbias = _backward(dy, cache.x, params["weight"], *self._back)
        return dx, {"weight": dweight, "bias": dbias} if self.layer.bias else {"weight": dweight}
