"""Conv2d with its arguments resolved once, without dx where it is not needed, and its update in the sweep."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from pellucid.fuse.context import GRADIENTS, FusionContext
from pellucid.layers.base import Layer, Mode, Params, Shape, like, memory_format, pair
from pellucid.layers.conv2d import Conv2d, Conv2dCache

_backward = torch.ops.aten.convolution_backward.default


@dataclass(frozen=True)
class FusedConv2d(Layer):
    """Replace a Conv2d whose padding is the same on opposite edges.

    `need_dx=False` leaves dx out. With a rate in its `context`, backward learns at once, W ← (1 - shrink) W - lr dW,
    and returns no gradients, so that those of all layers need not be there at one time; where it does not learn, they
    are not computed, and of x only the shape is kept.
    """

    layer: Conv2d
    need_dx: bool
    context: FusionContext = GRADIENTS

    @cached_property
    def _ahead(self) -> tuple[Any, ...]:
        layer = self.layer
        left, _, top, _ = layer.edges()
        return pair(layer.stride), (top, left), spread(layer), layer.groups

    @cached_property
    def _back(self) -> tuple[Any, ...]:
        stride, padding, dilation, groups = self._ahead
        learns = self.context.learns
        biases = [self.layer.filters] if self.layer.bias else None
        return (
            biases,
            stride,
            padding,
            dilation,
            False,
            (0, 0),
            groups,
            (self.need_dx, learns, learns and self.layer.bias),
        )

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Initialise the layer."""
        return self.layer.init(shape, rng)

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, Conv2dCache]:
        """Run the convolution."""
        y = torch.conv2d(x, params["weight"], params.get("bias"), *self._ahead)
        return y, Conv2dCache(x if self.context.learns else like(x))

    def backward(self, params: Params, cache: Conv2dCache, dy: Tensor) -> tuple[Tensor | None, Params]:
        """Compute the gradients of weight and bias or the step along them, and dx if it is needed."""
        x = cache.x
        if not self.context.learns:  # of which the kernel asks the shape, and would lay out one number seen as many
            x = torch.empty(x.shape, dtype=dy.dtype, device=dy.device, memory_format=memory_format(dy))
        dx, dweight, dbias = _backward(dy, x, params["weight"], *self._back)
        if not self.context.learns:
            return dx, {}
        rate = self.context.rate
        if rate is None:
            return dx, {"weight": dweight, "bias": dbias} if self.layer.bias else {"weight": dweight}
        if rate.shrink:
            params["weight"].mul_(1 - rate.shrink)
        params["weight"].sub_(dweight, alpha=rate.lr)
        if self.layer.bias:
            params["bias"].sub_(dbias, alpha=rate.lr)
        return dx, {}


def spread(layer: Conv2d) -> tuple[int, int]:
    """Return the dilation to compute with.

    A window of one pixel has no gaps, so that any dilation is the same; but without one and without a stride, PyTorch
    takes a kernel for it that is a third as fast, wherever one thread works on less than 16 images.
    """
    return (2, 2) if pair(layer.kernel) == pair(layer.stride) == (1, 1) else pair(layer.dilation)
