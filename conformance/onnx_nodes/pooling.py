"""Nodes of ONNX's pooling operators."""

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from conformance.case import SkipCase
from conformance.onnx_nodes.operator import Operator, Outputs, forward, image_view
from conformance.onnx_nodes.windows import WindowAttributes, parse_window
from pellucid.layers import AdaptiveAvgPool2d, AvgPool2d, LpPool2d, MaxPool2d, MaxUnpool2d, Pad2d


def max_pool(
    x: Tensor,
    *,
    kernel_shape: Sequence[int],
    ceil_mode: int = 0,
    storage_order: int = 0,
    **attributes: Unpack[WindowAttributes],
) -> Outputs:
    """Return the outputs of a MaxPool node, computed by MaxPool2d.

    Padding that the layer does not support is added by Pad2d, with the smallest number of the dtype.
    """
    view = image_view(x)
    image = view.lift(x)
    height, width = image.shape[2:]
    window = parse_window((height, width), kernel_shape, **attributes)
    padding, padded = (
        (window.padding, image) if window.fits_pooling else (0, window.pad(image, torch.finfo(x.dtype).min))
    )
    y, cache = forward(MaxPool2d(window.kernel, window.stride, padding, window.dilation, bool(ceil_mode)), padded)
    left, _, top, _ = (0, 0, 0, 0) if window.fits_pooling else window.edges
    row = cache.switches // padded.shape[3] - top
    column = cache.switches % padded.shape[3] - left
    switches = column * height + row if storage_order else row * width + column
    return view.drop(y), view.drop(switches + _plane_indices(image.shape) * height * width)


def average_pool(
    x: Tensor,
    *,
    kernel_shape: Sequence[int],
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    **attributes: Unpack[WindowAttributes],
) -> Outputs:
    """Return the outputs of an AveragePool node, computed by AvgPool2d.

    Padding that the layer does not support is added by Pad2d, as zeros. Unless `count_include_pad`, the mean is then
    divided by the fraction of each window inside the image, which is the pooled mean of a padded image of ones.
    """
    view = image_view(x)
    image = view.lift(x)
    window = parse_window(image.shape[2:], kernel_shape, **attributes)
    if window.fits_pooling:
        layer = AvgPool2d(
            window.kernel, window.stride, window.padding, bool(ceil_mode), bool(count_include_pad), window.dilation
        )
        return (view.drop(forward(layer, image)[0]),)
    layer = AvgPool2d(window.kernel, window.stride, 0, bool(ceil_mode), dilation=window.dilation)
    y, _ = forward(layer, window.pad(image))
    if not count_include_pad:
        y = y / forward(layer, window.pad(torch.ones_like(image)))[0]
    return (view.drop(y),)


def lp_pool(
    x: Tensor,
    *,
    kernel_shape: Sequence[int],
    ceil_mode: int = 0,
    p: int = 2,
    **attributes: Unpack[WindowAttributes],
) -> Outputs:
    """Return the outputs of an LpPool node, computed by Pad2d and LpPool2d: zeros do not change a norm."""
    view = image_view(x)
    window = parse_window(view.lift(x).shape[2:], kernel_shape, **attributes)
    layer = LpPool2d(window.kernel, float(p), window.stride, bool(ceil_mode), window.dilation)
    return (view.drop(forward(layer, window.pad(view.lift(x)))[0]),)


def global_average_pool(x: Tensor) -> Outputs:
    """Return the outputs of a GlobalAveragePool node, computed by AdaptiveAvgPool2d."""
    view = image_view(x)
    return (view.drop(forward(AdaptiveAvgPool2d(1), view.lift(x))[0]),)


def global_max_pool(x: Tensor) -> Outputs:
    """Return the outputs of a GlobalMaxPool node, computed by MaxPool2d with a window as large as the image."""
    view = image_view(x)
    height, width = view.lift(x).shape[2:]
    return (view.drop(forward(MaxPool2d((height, width)), view.lift(x))[0]),)


def global_lp_pool(x: Tensor, *, p: int = 2) -> Outputs:
    """Return the outputs of a GlobalLpPool node, computed by LpPool2d with a window as large as the image."""
    view = image_view(x)
    height, width = view.lift(x).shape[2:]
    return (view.drop(forward(LpPool2d((height, width), float(p)), view.lift(x))[0]),)


def max_unpool(
    x: Tensor,
    indices: Tensor,
    output_shape: Tensor | None = None,
    *,
    kernel_shape: Sequence[int],
    pads: Sequence[int] = (),
    strides: Sequence[int] = (),
) -> Outputs:
    """Return the outputs of a MaxUnpool node, computed by MaxUnpool2d.

    ONNX's indices count through all images and channels, ours through one channel of one image. For an
    `output_shape`, zeros are added at the right and the bottom.
    """
    view = image_view(x)
    values = view.lift(x)
    window = parse_window(values.shape[2:], kernel_shape, strides=strides, pads=pads)
    if not window.fits_pooling:
        raise SkipCase("attribute pads, not the same before and behind")
    layer = MaxUnpool2d(window.kernel, window.stride, window.padding)
    axes = zip(values.shape[2:], window.kernel, window.stride, window.padding, strict=True)
    height, width = (s * (length - 1) - 2 * p + k for length, k, s, p in axes)
    y, _ = forward(layer, (values, view.lift(indices) - _plane_indices(values.shape) * height * width))
    if output_shape is not None:
        *_, padded_height, padded_width = view.lift(torch.empty(output_shape.tolist(), device="meta")).shape
        y, _ = forward(Pad2d((0, padded_width - width, 0, padded_height - height)), y)
    return (view.drop(y),)


def _plane_indices(shape: Sequence[int]) -> Tensor:
    """Return the index n C + c of each channel of each image: (N, C, 1, 1)."""
    return torch.arange(shape[0] * shape[1]).view(shape[0], shape[1], 1, 1)


OPERATORS = {
    "MaxPool": Operator(MaxPool2d, max_pool, moves=True),
    "AveragePool": Operator(AvgPool2d, average_pool),
    "LpPool": Operator(LpPool2d, lp_pool, since=2),
    "GlobalAveragePool": Operator(AdaptiveAvgPool2d, global_average_pool),
    "GlobalMaxPool": Operator(MaxPool2d, global_max_pool, moves=True),
    "GlobalLpPool": Operator(LpPool2d, global_lp_pool, since=2),
    "MaxUnpool": Operator(MaxUnpool2d, max_unpool, since=9),
}
