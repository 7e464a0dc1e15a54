"""Nodes of ONNX's convolutions."""

from collections.abc import Sequence
from typing import Unpack

from torch import Tensor

from conformance.onnx_nodes.operator import Operator, Outputs, forward, image_view, without_none
from conformance.onnx_nodes.windows import WindowAttributes, edges_of_pads, height_width, parse_window, same_edges
from pellucid.layers import Conv2d, ConvTranspose2d, Pad2d


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,
    **attributes: Unpack[WindowAttributes],
) -> Outputs:
    """Return the outputs of a Conv node, computed by Conv2d, after Pad2d if the padding is asymmetric."""
    view = image_view(x)
    window = parse_window(view.lift(x).shape[2:], kernel_shape or weight.shape[2:], **attributes)
    padding, image = (window.padding, view.lift(x)) if window.is_symmetric else (0, window.pad(view.lift(x)))
    layer = Conv2d(
        len(weight),
        window.kernel,
        stride=window.stride,
        padding=padding,
        dilation=window.dilation,
        groups=group,
        bias=bias is not None,
    )
    return (view.drop(forward(layer, image, without_none(weight=view.lift(weight), bias=bias))[0]),)


def conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] = (1, 1),
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,
    output_padding: Sequence[int] | None = None,
    output_shape: Sequence[int] | None = None,
    pads: Sequence[int] = (0, 0),
    strides: Sequence[int] = (1, 1),
) -> Outputs:
    """Return the outputs of a ConvTranspose node, computed by ConvTranspose2d and, if necessary, Pad2d.

    ConvTranspose2d crops the same number of rows at both ends, then adds `output_padding` at the end. Pad2d crops the
    rest at the end, and adds rows for a negative begin. H' = s (H - 1) + d (k - 1) + 1 + o - begin - end.
    """
    view = image_view(x)
    image = view.lift(x)
    window = parse_window(image.shape[2:], kernel_shape or weight.shape[2:], strides=strides, dilations=dilations)
    extra = height_width(output_padding or (0, 0), 0)
    axes = zip(image.shape[2:], window.kernel, window.stride, window.dilation, extra, strict=True)
    full_size = [s * (length - 1) + d * (k - 1) + 1 + o for length, k, s, d, o in axes]
    edges = edges_of_pads(pads)
    if output_shape is None and auto_pad.startswith("SAME"):
        output_shape = [length * s for length, s in zip(image.shape[2:], window.stride, strict=True)]
    if output_shape is not None:
        output_size = height_width(output_shape[-2:])
        edges = same_edges([length - out for length, out in zip(full_size, output_size, strict=True)], auto_pad)
    left, right, top, bottom = edges
    padding = max(top, 0), max(left, 0)
    # Rows and columns to add at the end; negative numbers are cropped.
    end_sizes = padding[0] - bottom + extra[0], padding[1] - right + extra[1]
    layer = ConvTranspose2d(
        weight.shape[1] * group,
        window.kernel,
        stride=window.stride,
        padding=padding,
        output_padding=(max(end_sizes[0], 0), max(end_sizes[1], 0)),
        dilation=window.dilation,
        groups=group,
        bias=bias is not None,
    )
    y, _ = forward(layer, image, without_none(weight=view.lift(weight), bias=bias))
    edge_padding = max(-left, 0), min(end_sizes[1], 0), max(-top, 0), min(end_sizes[0], 0)
    return (view.drop(forward(Pad2d(edge_padding), y)[0] if any(edge_padding) else y),)


OPERATORS = {"Conv": Operator(Conv2d, conv), "ConvTranspose": Operator(ConvTranspose2d, conv_transpose)}
