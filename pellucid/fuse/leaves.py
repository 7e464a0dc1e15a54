"""Fused forms of single layers: arguments resolved once, no dx where it is not needed, and the update in the sweep."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.fuse.context import GRADIENTS, Form, FusionContext, NoCache
from pellucid.layers.base import Mode, Params, like, memory_format, pair
from pellucid.layers.concat import Concat, ConcatCache
from pellucid.layers.conv2d import Conv2d, Conv2dCache
from pellucid.layers.dense import Dense, DenseCache, rows
from pellucid.layers.maxpool2d import MaxPool2d, MaxPool2dCache
from pellucid.layers.padchannels import PadChannels

_conv2d_backward = torch.ops.aten.convolution_backward.default
_max_pool2d = torch.ops.aten.max_pool2d_with_indices.default
_max_pool2d_backward = torch.ops.aten.max_pool2d_with_indices_backward.default

# From a wide input to a narrow output, oneMKL works on Wxᵀ up to 1.7 times as fast as on xWᵀ (measured on 784 to 30).
NARROW, WIDE, MANY_ROWS = 64, 256, 16


@dataclass(frozen=True)
class FusedDense(Form):
    """Replace a Dense.

    `need_dx=False` leaves dx out. With a rate in its `context`, backward learns at once, W ← (1 - shrink) W - lr dyᵀ x,
    and returns no gradients: one pass over W where two and a tensor of W's size would be needed. Where it does not
    learn, only dx is computed, and x is not kept.
    """

    layer: Dense
    need_dx: bool
    context: FusionContext = GRADIENTS

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, DenseCache]:
        """Compute y = x Wᵀ + b; narrow outputs of wide inputs as (W xᵀ + b)ᵀ."""
        narrow = self.layer.units < NARROW and self.layer.bias
        if narrow and x.dim() == 2 and x.shape[0] >= MANY_ROWS and x.shape[1] >= WIDE:
            y = torch.addmm(params["bias"].unsqueeze(1), params["weight"], x.t()).t()
        else:
            y, _ = self.layer.forward(params, x, mode)
        return y, DenseCache(x if self.context.learns else like(x))

    def backward(self, params: Params, cache: DenseCache, dy: Tensor) -> tuple[Tensor | None, Params]:
        """Compute dx, and the gradients of weight and bias or the step along them."""
        dx = dy @ params["weight"] if self.need_dx else None  # before W changes
        if not self.context.learns:
            return dx, {}
        rate = self.context.rate
        if rate is None:
            return dx, self.layer.parameter_gradients(cache, dy)
        lr = rate.lr
        x, dy = rows(cache.x, dy)
        params["weight"].addmm_(dy.t(), x, beta=1 - rate.shrink, alpha=-lr)
        if self.layer.bias:
            params["bias"].sub_(dy.sum(0), alpha=lr)
        return dx, {}


@dataclass(frozen=True)
class FusedConv2d(Form):
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

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, Conv2dCache]:
        """Run the convolution."""
        y = torch.conv2d(x, params["weight"], params.get("bias"), *self._ahead)
        return y, Conv2dCache(x if self.context.learns else like(x))

    def backward(self, params: Params, cache: Conv2dCache, dy: Tensor) -> tuple[Tensor | None, Params]:
        """Compute the gradients of weight and bias or the step along them, and dx if it is needed."""
        x = cache.x
        if not self.context.learns:  # the kernel needs its shape, and would materialize an expanded scalar
            x = torch.empty(x.shape, dtype=dy.dtype, device=dy.device, memory_format=memory_format(dy))
        dx, dweight, dbias = _conv2d_backward(dy, x, params["weight"], *self._back)
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

    def pull(self, params: Params, cache: Conv2dCache, dy: Tensor) -> Tensor:
        """Compute only dx, without those gradients."""
        return self.layer.pull(params, cache, dy)


def spread(layer: Conv2d) -> tuple[int, int]:
    """Return the dilation to compute with.

    The dilation of a window of one pixel has no effect on the result. Without a dilation and a stride, however,
    PyTorch chooses a kernel that has a third of the speed where a thread processes fewer than 16 images.
    """
    return (2, 2) if pair(layer.kernel) == pair(layer.stride) == (1, 1) else pair(layer.dilation)


@dataclass(frozen=True)
class FusedMaxPool2d(Form):
    """Replace a MaxPool2d without dilation."""

    layer: MaxPool2d

    @cached_property
    def _window(self) -> tuple[Any, ...]:
        layer = self.layer
        return pair(layer.kernel), pair(layer.step), pair(layer.padding), pair(layer.dilation), layer.ceil_mode

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, MaxPool2dCache]:
        """Compute the maximum over each window."""
        y, switches = _max_pool2d(x, *self._window)
        return y, MaxPool2dCache(switches, like(x))

    def backward(self, params: Params, cache: MaxPool2dCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Add each dy at the position of its maximum."""
        if dy.device.type == "mps":  # its kernel does not use the switches; the layer's own backward does
            return self.layer.backward(params, cache, dy)
        switches, x = cache
        form = memory_format(switches)
        shape_only = torch.empty(x.shape, dtype=dy.dtype, device=dy.device, memory_format=form)
        return _max_pool2d_backward(dy, shape_only, *self._window, switches), {}


@dataclass(frozen=True)
class FusedPadChannels(Form):
    """Replace a PadChannels, without keeping its input, which only rules read."""

    layer: PadChannels

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, NoCache]:
        """Add the channels of zeros."""
        return self.layer.forward(params, x, mode)[0], NoCache()

    def backward(self, params: Params, cache: NoCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return the part of dy that belongs to x's own channels."""
        return F.pad(dy, (0, 0, 0, 0, -self.layer.before, -self.layer.after)), {}


@dataclass(frozen=True)
class FusedConcat(Form):
    """Replace a Concat, without keeping its inputs, of which only the shapes are needed."""

    layer: Concat

    def forward(self, params: Params, x: tuple[Tensor, ...], mode: Mode) -> tuple[Tensor, ConcatCache]:
        """Concatenate the inputs."""
        return self.layer.forward(params, x, mode)[0], ConcatCache(tuple(map(like, x)))

    def backward(self, params: Params, cache: ConcatCache, dy: Tensor) -> tuple[tuple[Tensor, ...], Params]:
        """Return each input's part of dy."""
        return self.layer.backward(params, cache, dy)
