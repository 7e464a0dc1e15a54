"""Samples of PyTorch's pooling operators; 1-D operators run on images of one row."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from conformance.case import SkipCase
from conformance.opinfo.operator import Operator
from conformance.trial import ForwardPass, Trial, layer_trial
from conformance.views import image_option, image_size, image_view, spatial_view
from pellucid.layers import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d, MaxUnpool2d, Mode
from pellucid.operators import AdaptiveMaxPool


def max_pool(
    reference: Callable[[], Any], x: Tensor, *sizes: Any, return_indices: bool = False, axes: int, **options: Any
) -> Trial:
    """Return the trial of MaxPool2d on a sample of max_pool; with `return_indices`, our switches are compared too."""
    layer, view = max_pool_layer(*sizes, axes=axes, **options), spatial_view(x, axes)
    if not return_indices:
        return layer_trial(layer, {}, x, reference, view=view)

    def forward() -> ForwardPass:
        y, cache = layer.forward({}, view.lift(x), Mode())
        outputs = view.drop(y), view.drop(cache.switches)
        return ForwardPass(outputs, lambda dy: {"x": view.drop(layer.backward({}, cache, view.lift(dy))[0])})

    return Trial({"x": x}, reference, forward)


def max_pool_layer(
    kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False, *, axes: int
) -> MaxPool2d:
    """Return the MaxPool2d with PyTorch's options."""
    return MaxPool2d(
        image_option(kernel_size, axes, 1),
        image_option(stride or kernel_size, axes, 1),
        image_option(padding, axes, 0),
        image_option(dilation, axes, 1),
        ceil_mode,
    )


def max_pool_backward(
    reference: Callable[[], Tensor], x: Tensor, *sizes: Any, return_indices: bool = False, **options: Any
) -> Trial:
    """Return the trial of MaxPool2d.backward on a sample of max_pool2d_with_indices_backward, with a dy of ones.

    The result depends on x only by the positions of the maxima, so its gradient with respect to x is 0.
    """
    layer, view = max_pool_layer(*sizes, axes=2, **options), image_view(x)

    def forward() -> ForwardPass:
        y, cache = layer.forward({}, view.lift(x), Mode())
        dx, _ = layer.backward({}, cache, torch.ones_like(y))
        return ForwardPass((view.drop(dx),), lambda dy_above: {"x": torch.zeros_like(x)})

    return Trial({"x": x}, lambda: (reference(),), forward)


def max_unpool(
    reference: Callable[[], Tensor],
    x: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Sequence[int] | None = None,
    *,
    axes: int,
) -> Trial:
    """Return the trial of MaxUnpool2d on a sample of max_unpool over one or two `axes`."""
    layer = MaxUnpool2d(
        image_option(kernel_size, axes, 1),
        image_option(stride or kernel_size, axes, 1),
        image_option(padding, axes, 0),
        None if output_size is None else image_option(tuple(output_size[-axes:]), axes, 1),
    )
    view = spatial_view(x, axes)

    def forward() -> ForwardPass:
        y, cache = layer.forward({}, (view.lift(x), view.lift(indices)), Mode())
        return ForwardPass((view.drop(y),), lambda dy: {"x": view.drop(layer.backward({}, cache, view.lift(dy))[0][0])})

    return Trial({"x": x}, lambda: (reference(),), forward)


def avg_pool(
    reference: Callable[[], Tensor],
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    axes: int,
) -> Trial:
    """Return the trial of AvgPool2d on a sample of avg_pool over one or two `axes`."""
    if divisor_override is not None:
        raise SkipCase("option divisor_override")
    layer = AvgPool2d(
        image_option(kernel_size, axes, 1),
        image_option(stride or kernel_size, axes, 1),
        image_option(padding, axes, 0),
        ceil_mode,
        count_include_pad,
    )
    return layer_trial(layer, {}, x, reference, view=spatial_view(x, axes))


def adaptive_avg_pool(reference: Callable[[], Tensor], x: Tensor, output_size: Any, axes: int) -> Trial:
    """Return the trial of AdaptiveAvgPool2d on a sample of adaptive_avg_pool over one or two `axes`."""
    layer = AdaptiveAvgPool2d(image_size(x, output_size, axes))
    return layer_trial(layer, {}, x, reference, view=spatial_view(x, axes))


def adaptive_max_pool(
    reference: Callable[[], Any], x: Tensor, output_size: Any, return_indices: bool = False, *, axes: int
) -> Trial:
    """Return the trial of AdaptiveMaxPool on a sample of adaptive_max_pool over one or two `axes`."""
    layer = AdaptiveMaxPool(image_size(x, output_size, axes))
    values = (lambda: reference()[0]) if return_indices else reference
    return layer_trial(layer, {}, x, values, view=spatial_view(x, axes))


def _operators_over_axes(name: str, subject: Any, adapt: Callable[..., Trial], *variants: str) -> tuple[Operator, ...]:
    """Return the entries of the 1-D and the 2-D operator, with their variants."""
    return tuple(
        Operator(f"nn.functional.{name}{axes}d", subject, partial(adapt, axes=axes), variant)
        for axes in (1, 2)
        for variant in ("", *variants)
    )


OPERATORS = (
    *_operators_over_axes("max_pool", MaxPool2d, max_pool),
    Operator("max_pool2d_with_indices_backward", MaxPool2d, max_pool_backward),
    *_operators_over_axes("max_unpool", MaxUnpool2d, max_unpool, "grad"),
    *_operators_over_axes("avg_pool", AvgPool2d, avg_pool),
    *_operators_over_axes("adaptive_avg_pool", AdaptiveAvgPool2d, adaptive_avg_pool),
    *_operators_over_axes("adaptive_max_pool", AdaptiveMaxPool, adaptive_max_pool),
)
