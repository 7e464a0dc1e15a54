"""The receptive field of a unit: the part of the input that it depends on, found by one backward sweep."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.explain.sweeps import ForwardPass
from pellucid.layers import (
    AvgPool2d,
    BatchNorm,
    GroupNorm,
    InstanceNorm2d,
    LayerNorm,
    LocalContrastNorm,
    LocalResponseNorm,
    LogSoftmax,
    LpPool2d,
    MaxPool2d,
    MaxUnpool2d,
    Multiply,
    Softmax,
)
from pellucid.layers.avgpool2d import AvgPool2dCache
from pellucid.layers.base import Cache, Layer, Params, Trait, states
from pellucid.layers.multiply import MultiplyCache
from pellucid.nested import map_tree
from pellucid.rules import own
from pellucid.sweep import Rule

ReachRule = Callable[[Any, Params, Any, Any], Any]  # (layer, params, cache, dy) -> dx, where nonzero values are marks


@torch.no_grad()
def receptive_fields(run: ForwardPass) -> Tensor:
    """Return the rectangle of pixels that each example's target depends on: (N, 4), top, left, bottom, right.

    Bottom and right are exclusive; the rectangle is clipped at the image's edges. A mark is propagated back from the
    target through every window, independently of the weights: each layer marks all inputs of its marked outputs, as if
    all weights were 1 and maxima were means. Normalization over a whole image marks the whole image; for
    `LocalContrastNorm`, only the window is marked, although the mean deviation depends on the whole image. Raises
    PellucidError for a layer without a rule.
    """
    marks = run.back(rules, last=False)  # (N, C, H, W)
    windows: list[list[int]] = []
    for marked in (marks > 0).any(1):
        rows, columns = marked.any(1).nonzero().flatten(), marked.any(0).nonzero().flatten()
        if not len(rows):
            raise PellucidError("the target depends on no pixel; choose one that depends on the input")
        windows.append([int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1])
    return torch.tensor(windows)


def rules(path: str, layer: Layer) -> Rule:
    """Return the rule that propagates marks back through a layer."""
    reach = next((reach for kinds, reach in REACHES if states(layer, *kinds)), None)
    if reach is None:
        raise PellucidError(f"{path}: the receptive field of a {type(layer).__name__} is unknown")

    def back(layer: Layer, params: Params, cache: Cache, dy: Any) -> tuple[Any, Params]:
        return _marked(reach(layer, params, cache, dy)), {}

    return back


def _marked(dx: Any) -> Any:
    """Return 1 for each mark and 0 elsewhere, which prevents overflow over many layers."""
    return tuple(map(_marked, dx)) if isinstance(dx, tuple) else (dx != 0).to(dx.dtype)


def _own_backward(layer: Layer, params: Params, cache: Cache, dy: Any) -> Any:
    """Propagate the marks by the layer's own rule for dx."""
    return own(layer, params, cache, dy)[0]


def _pass(layer: Layer, params: Params, cache: Cache, dy: Tensor) -> Tensor:
    """Mark all channels at the position of each marked output."""
    return dy.sum(1, keepdim=True).expand(dy.shape)


def _along(layer: Softmax | LogSoftmax, params: Params, cache: Cache, dy: Tensor) -> Tensor:
    """Mark all values along the layer's axis, and all channels at their positions."""
    return _pass(layer, params, cache, dy.sum(layer.axis, keepdim=True).expand(dy.shape))


def _by_ones(layer: Layer, params: Params, cache: Cache, dy: Tensor) -> Tensor:
    """Propagate the marks back with all weights 1."""
    return layer.pull(map_tree(torch.ones_like, params), cache, dy)


def _windows(layer: MaxPool2d | LpPool2d, params: Params, cache: Any, dy: Tensor) -> Tensor:
    """Mark the windows of the marked outputs, as mean pooling with the same windows does."""
    padding = layer.padding if isinstance(layer, MaxPool2d) else 0
    mean = AvgPool2d(layer.kernel, layer.stride, padding, layer.ceil_mode, dilation=layer.dilation)
    return mean.pull({}, AvgPool2dCache(dy.new_zeros(cache.x.shape)), dy)


def _contrast(layer: LocalContrastNorm, params: Params, cache: Any, dy: Tensor) -> Tensor:
    """Mark the windows of the marked outputs in all channels."""
    mean = AvgPool2d(layer.size, 1, layer.size // 2)
    return mean.pull({}, AvgPool2dCache(cache.centred), _pass(layer, params, cache, dy))


def _all_values(layer: Layer, params: Params, cache: Cache, dy: Tensor) -> Tensor:
    """Mark all values of an example with a marked output."""
    return dy.sum(tuple(range(1, dy.dim())), keepdim=True).expand(dy.shape)


def _product(layer: Multiply, params: Params, cache: Any, dy: Tensor) -> Any:
    """Mark the values of all inputs at each marked output."""
    return layer.pull(params, MultiplyCache(tuple(map(torch.ones_like, cache.xs))), dy)


# Types or traits of layers, and the function that propagates marks back through them; the first match counts.
REACHES: tuple[tuple[tuple[type[Layer] | Trait, ...], ReachRule], ...] = (
    ((Trait.WEIGHTED,), _by_ones),
    ((MaxPool2d, LpPool2d), _windows),
    ((LocalContrastNorm,), _contrast),
    ((GroupNorm, InstanceNorm2d, LayerNorm), _all_values),
    ((Multiply,), _product),
    ((Softmax, LogSoftmax), _along),
    ((Trait.LINEAR, MaxUnpool2d), _own_backward),
    ((Trait.ELEMENTWISE, BatchNorm, LocalResponseNorm), _pass),
)
