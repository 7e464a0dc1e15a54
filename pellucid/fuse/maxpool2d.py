"""MaxPool2d with its arguments resolved once."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from pellucid.layers.base import Layer, Mode, Params, Shape, like, memory_format, pair
from pellucid.layers.maxpool2d import MaxPool2d, MaxPool2dCache

_forward = torch.ops.aten.max_pool2d_with_indices.default
_backward = torch.ops.aten.max_pool2d_with_indices_backward.default


@dataclass(frozen=True)
class FusedMaxPool2d(Layer):
    """Replace a MaxPool2d without dilation."""

    layer: MaxPool2d

    @cached_property
    def _window(self) -> tuple[Any, ...]:
        layer = self.layer
        return pair(layer.kernel), pair(layer.step), pair(layer.padding), pair(layer.dilation), layer.ceil_mode

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the pooled shape."""
        return self.layer.init(shape, rng)

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, MaxPool2dCache]:
        """Compute the maximum over each window."""
        y, switches = _forward(x, *self._window)
        return y, MaxPool2dCache(switches, like(x))

    def backward(self, params: Params, cache: MaxPool2dCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Send each dy to where the maximum stood."""
        if dy.device.type == "mps":  # whose kernel does not use the switches; the layer knows what to do
            return self.layer.backward(params, cache, dy)
        switches, x = cache
        form = memory_format(switches)
        shape_only = torch.empty(x.shape, dtype=dy.dtype, device=dy.device, memory_format=form)
        return _backward(dy, shape_only, *self._window, switches), {}
