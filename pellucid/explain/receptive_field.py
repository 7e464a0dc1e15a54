"""The receptive field of a unit: the part of the input that it depends on, computed by one backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
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
from pellucid.layers.base import Params, Trait, declares
from pellucid.layers.multiply import MultiplyCache
from pellucid.nested import map_tree
from pellucid.rules import own

if TYPE_CHECKING:
    from pellucid.explain.sweeps import ForwardPass
    from pellucid.layers.base import Cache, Layer
    from pellucid.sweep import Rule

MarkRule = Callable[[Any, Params, Any, Any], Any]  # (layer, params, cache, dy) -> dx, where nonzero values are marks


@torch.no_grad()
def receptive_fields(run: ForwardPass) -> Tensor:
    """Return the rectangle of pixels that each example's target depends on: (N, 4), top, left, bottom, right.

    Bottom and right are exclusive; the rectangle is clipped at the image's edges. A mark is propagated back from the
    target through every window, independently of the weights: each layer marks all inputs of its marked outputs, as if
    all weights were 1 and maxima were means. Normalization over a whole image marks the whole image; for
    `LocalContrastNorm`, only the window is marked, although the mean deviation depends on the whole image. Raises
    PellucidError for a layer without a rule.
    """
    marks = run.propagate_back(marking_rules, consume=False)  # (N, C, H, W)
    rectangles: list[list[int]] = []
    for is_marked in (marks > 0).any(1):
        rows, columns = is_marked.any(1).nonzero().flatten(), is_marked.any(0).nonzero().flatten()
        if not len(rows):
            raise PellucidError("the target depends on no pixel; choose one that depends on the input")
        rectangles.append([int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1])
    return torch.tensor(rectangles)


def marking_rules(path: str, layer: Layer) -> Rule:
    """Return the rule that propagates marks back through a layer."""
    mark_rule = next(
        (mark_rule for types_or_traits, mark_rule in MARK_RULES if declares(layer, *types_or_traits)), None
    )
    if mark_rule is None:
        raise PellucidError(f"{path}: the receptive field of a {type(layer).__name__} is unknown")

    def mark_backward(layer: Layer, params: Params, cache: Cache, dy: Any) -> tuple[Any, Params]:
        return _to_marks(mark_rule(layer, params, cache, dy)), {}

    return mark_backward


def _to_marks(dx: Any) -> Any:
    """Return 1 for each mark and 0 elsewhere, which prevents overflow over many layers."""
    return tuple(map(_to_marks, dx)) if isinstance(dx, tuple) else (dx != 0).to(dx.dtype)


def _mark_by_own_backward(layer: Layer, params: Params, cache: Cache, dy: Any) -> Any:
    """Propagate the marks by the layer's own rule for dx."""
    return own(layer, params, cache, dy)[0]


def _mark_channels(layer: Layer, params: Params, cache: Cache, dy: Tensor) -> Tensor:
    """Mark all channels at the position of each marked output."""
    return dy.sum(1, keepdim=True).expand(dy.shape)


def _mark_axis(layer: Softmax | LogSoftmax, params: Params, cache: Cache, dy: Tensor) -> Tensor:
    """Mark all values along the layer's axis, and all channels at their positions."""
    return _mark_channels(layer, params, cache, dy.sum(layer.axis, keepdim=True).expand(dy.shape))


def _mark_by_unit_weights(layer: Layer, params: Params, cache: Cache, dy: Tensor) -> Tensor:
    """Propagate the marks by the layer's own rule for dx, with all weights set to 1."""
    return layer.pull(map_tree(torch.ones_like, params), cache, dy)


def _mark_windows(layer: MaxPool2d | LpPool2d, params: Params, cache: Any, dy: Tensor) -> Tensor:
    """Mark the windows of the marked outputs, by the backward pass of mean pooling with the same windows."""
    padding = layer.padding if isinstance(layer, MaxPool2d) else 0
    mean = AvgPool2d(layer.kernel, layer.stride, padding, layer.ceil_mode, dilation=layer.dilation)
    return mean.pull({}, AvgPool2dCache(dy.new_zeros(cache.x.shape)), dy)


def _mark_contrast_windows(layer: LocalContrastNorm, params: Params, cache: Any, dy: Tensor) -> Tensor:
    """Mark the windows of the marked outputs in all channels."""
    mean = AvgPool2d(layer.size, 1, layer.size // 2)
    return mean.pull({}, AvgPool2dCache(cache.centred), _mark_channels(layer, params, cache, dy))


def _mark_example(layer: Layer, params: Params, cache: Cache, dy: Tensor) -> Tensor:
    """Mark all values of each example that has a marked output."""
    return dy.sum(tuple(range(1, dy.dim())), keepdim=True).expand(dy.shape)


def _mark_factors(layer: Multiply, params: Params, cache: Any, dy: Tensor) -> Any:
    """Mark the values of all inputs at each marked output."""
    return layer.pull(params, MultiplyCache(tuple(map(torch.ones_like, cache.xs))), dy)


# Types or traits of layers, and the function that propagates marks back through them; the first match is used.
MARK_RULES: tuple[tuple[tuple[type[Layer] | Trait, ...], MarkRule], ...] = (
    ((Trait.WEIGHTED,), _mark_by_unit_weights),
    ((MaxPool2d, LpPool2d), _mark_windows),
    ((LocalContrastNorm,), _mark_contrast_windows),
    ((GroupNorm, InstanceNorm2d, LayerNorm), _mark_example),
    ((Multiply,), _mark_factors),
    ((Softmax, LogSoftmax), _mark_axis),
    ((Trait.LINEAR, MaxUnpool2d), _mark_by_own_backward),
    ((Trait.ELEMENTWISE, BatchNorm, LocalResponseNorm), _mark_channels),
)
