"""Samples of PyTorch's resizing of images."""

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from conformance.case import SkipCase
from conformance.opinfo.operator import Operator
from conformance.trial import Trial, layer_trial
from conformance.views import image_view, row_view
from pellucid.layers import AdaptiveAvgPool2d, Layer, Upsample


def interpolate(
    reference: Callable[[], Tensor],
    x: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Trial:
    """Return the trial of Upsample, or of AdaptiveAvgPool2d in the mode "area", on a sample of interpolate."""
    if x.dim() > 4:
        raise SkipCase("3-D input")
    if antialias and align_corners:
        raise SkipCase("options antialias and align_corners together")
    scale = None if scale_factor is None else _height_width(x, scale_factor)
    output_size = None if size is None else _height_width(x, size)
    if scale is not None and (recompute_scale_factor or mode == "area"):
        lengths = (1, *x.shape[2:])[-2:]
        high, wide = (math.floor(length * factor) for length, factor in zip(lengths, scale, strict=True))
        scale, output_size = None, (high, wide)  # PyTorch then ignores the scale and uses the sizes
    layer: Layer
    if mode == "area":
        layer = AdaptiveAvgPool2d(output_size or 1)
    else:
        layer = Upsample(scale, output_size, "bilinear" if mode == "linear" else mode, bool(align_corners), antialias)
    return layer_trial(layer, {}, x, reference, view=row_view(x) if x.dim() == 3 else image_view(x))


def upsample_nearest(reference: Callable[[], Tensor], x: Tensor, size: Any = None, scale_factor: Any = None) -> Trial:
    """Return the trial of Upsample on a sample of upsample_nearest."""
    return interpolate(reference, x, size, scale_factor)


def upsample_bilinear(reference: Callable[[], Tensor], x: Tensor, size: Any = None, scale_factor: Any = None) -> Trial:
    """Return the trial of Upsample on a sample of upsample_bilinear, which aligns the corners."""
    return interpolate(reference, x, size, scale_factor, "bilinear", True)


def upsample_bilinear_antialiased(
    reference: Callable[[], Tensor],
    x: Tensor,
    output_size: Any = None,
    align_corners: bool = False,
    scale_factors: Any = None,
    scales_h: float | None = None,
    scales_w: float | None = None,
) -> Trial:
    """Return the trial of Upsample on a sample of _upsample_bilinear2d_aa.

    Raises SkipCase for scales given in addition to a size, which may contradict it.
    """
    if scales_h is not None or scales_w is not None:
        raise SkipCase("output_size and scales that contradict it")
    return interpolate(reference, x, output_size, scale_factors, "bilinear", align_corners, antialias=True)


def _height_width(x: Tensor, value: Any) -> tuple[Any, Any]:
    """Return a number, or one for each spatial axis of x, as (height, width); the height of (N, C, L) is 1."""
    axes = x.dim() - 2
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,) * axes
    high, wide = values if axes == 2 else (1, *values)
    return high, wide


OPERATORS = (
    *(
        Operator("nn.functional.interpolate", Upsample, interpolate, mode)
        for mode in ("nearest", "nearest-exact", "linear", "bilinear", "bicubic")
    ),
    Operator("nn.functional.interpolate", AdaptiveAvgPool2d, interpolate, "area"),
    Operator("_upsample_bilinear2d_aa", Upsample, upsample_bilinear_antialiased),
    Operator("nn.functional.upsample_nearest", Upsample, upsample_nearest),
    Operator("nn.functional.upsample_bilinear", Upsample, upsample_bilinear),
)
