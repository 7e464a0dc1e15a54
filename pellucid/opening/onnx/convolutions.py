"""Conversion of ONNX convolutions: Conv2d and ConvTranspose2d for images and constant kernels, else Convolve."""

from collections.abc import Sequence
from typing import Any

from pellucid import layers
from pellucid.opening.onnx.reading import NodeReading, single_or_pair
from pellucid.opening.onnx.values import Unreadable, Value
from pellucid.operators import Convolve, Pad

AUTO_PAD_MODES = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")

_PaddingPairs = list[tuple[int, int]]  # padding before and after, for each axis


def conv(r: NodeReading) -> Value:
    """Read Conv as Conv2d, after a Pad2d for asymmetric padding other than "same"; see also `convolve`."""
    if not _is_conv2d(r):
        return convolve(r)
    weight, bias = r.param(1), r.bias(2)
    filters, _, *kernel = weight.tensors[0].shape
    stride, dilation = r.pair("strides", 1), r.pair("dilations", 1)
    left, right, top, bottom = padding = image_padding(r, (kernel[0], kernel[1]), stride, dilation)
    options: dict[str, Any] = {
        "dilation": single_or_pair(dilation),
        "groups": r.attribute("group", 1),
        "bias": bool(bias),
    }
    window = single_or_pair((kernel[0], kernel[1]))
    if (left, top) == (right, bottom):
        symmetric_conv = layers.Conv2d(
            filters, window, stride=single_or_pair(stride), padding=single_or_pair((top, left)), **options
        )
        return r.layer(symmetric_conv, weight=weight, **bias)
    if stride == (1, 1):
        same_conv = layers.Conv2d(filters, window, stride=1, padding="same", **options)
        if same_conv.edges() == padding:
            return r.layer(same_conv, weight=weight, **bias)
    padded = r.inner("pad", layers.Pad2d(padding))
    layer = layers.Conv2d(filters, window, stride=single_or_pair(stride), padding=0, **options)
    return r.layer(layer, padded, weight=weight, **bias)


def conv_transpose(r: NodeReading) -> Value:
    """Read ConvTranspose as ConvTranspose2d; see also `convolve_transpose`."""
    if not _is_conv2d(r):
        return convolve_transpose(r)
    weight, bias = r.param(1), r.bias(2)
    _, filters, *kernel = weight.tensors[0].shape
    stride, dilation, output_padding = r.pair("strides", 1), r.pair("dilations", 1), r.pair("output_padding", 0)
    (top, bottom), (left, right) = _cropping(r, kernel, stride, dilation, output_padding)
    groups = r.attribute("group", 1)
    is_symmetric = (left, top) == (right, bottom)
    layer = layers.ConvTranspose2d(
        filters * groups,
        single_or_pair((kernel[0], kernel[1])),
        stride=single_or_pair(stride),
        padding=single_or_pair((top, left)) if is_symmetric else 0,
        output_padding=single_or_pair(output_padding),
        dilation=single_or_pair(dilation),
        groups=groups,
        bias=bool(bias),
    )
    if is_symmetric:
        return r.layer(layer, weight=weight, **bias)
    uncropped = r.inner("uncropped", layer, weight=weight, **bias)
    return r.layer(layers.Pad2d((-left, -right, -top, -bottom)), uncropped)


def convolve(r: NodeReading) -> Value:
    """Read Conv over any number of axes, or with computed kernels, as Convolve, after a Pad for asymmetric padding."""
    kernel, stride, dilation = _window(r)
    padding_pairs = _padding(r, kernel, stride, dilation)
    is_symmetric = all(before == after for before, after in padding_pairs)
    padding = tuple(before if is_symmetric else 0 for before, _ in padding_pairs)
    layer = Convolve(tuple(stride), padding, tuple(dilation), r.attribute("group", 1))
    x = r.x if is_symmetric else r.inner("pad", Pad(_reversed_padding(padding_pairs)))
    return r.layer(layer, x, *_weights(r))


def convolve_transpose(r: NodeReading) -> Value:
    """Read ConvTranspose like Conv in `convolve`, as Convolve, before a Pad that crops for asymmetric padding."""
    kernel, stride, dilation = _window(r)
    output_padding = r.attribute("output_padding", [0] * len(kernel))
    padding_pairs = _cropping(r, kernel, stride, dilation, output_padding)
    is_symmetric = all(before == after for before, after in padding_pairs)
    padding = tuple(before if is_symmetric else 0 for before, _ in padding_pairs)
    layer = Convolve(
        tuple(stride),
        padding,
        tuple(dilation),
        r.attribute("group", 1),
        transposed=True,
        output_padding=tuple(output_padding),
    )
    if is_symmetric:
        return r.layer(layer, r.x, *_weights(r))
    uncropped = r.inner("uncropped", layer, r.x, *_weights(r))
    return r.layer(Pad(_reversed_padding([(-before, -after) for before, after in padding_pairs])), uncropped)


def image_padding(
    r: NodeReading, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Return the padding (left, right, top, bottom), from the attribute "pads" or "auto_pad"."""
    (top, bottom), (left, right) = _padding(r, kernel, stride, dilation)
    return left, right, top, bottom


def _is_conv2d(r: NodeReading) -> bool:
    """Return whether the kernel and the bias are constants, and the kernel is for images.

    Raises Unreadable for a kernel of an unexpected shape.
    """
    weight = r.value(1)
    r.check_attributes(kernel_shape=[*weight.sizes[0][2:]])
    if weight.sizes[0] != weight.sizes[1] or weight.rank < 3 or not weight.is_float:
        raise Unreadable(f"has a kernel of {weight.rank} axes, or one for each example")
    return weight.rank == 4 and all(value.constant is not None for value in _weights(r))


def _weights(r: NodeReading) -> list[Value]:
    """Return the kernel, and the bias if there is one."""
    return [r.value(1), r.value(2)] if r.has_input(2) else [r.value(1)]


def _window(r: NodeReading) -> tuple[list[int], list[int], list[int]]:
    """Return the kernel's sizes, the strides and the dilations."""
    kernel = [*r.value(1).sizes[0][2:]]
    ones = [1] * len(kernel)
    stride, dilation = r.attribute("strides", ones), r.attribute("dilations", ones)
    if not len(stride) == len(dilation) == len(kernel) == len(r.shape) - 1:
        raise Unreadable(f"has a kernel of {len(kernel)} axes for inputs {r.shape}")
    return kernel, stride, dilation


def _padding(r: NodeReading, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> _PaddingPairs:
    """Return the padding of each axis, from the attribute "pads" or "auto_pad"."""
    no_padding = [0] * 2 * len(kernel)
    mode, pads = r.attribute("auto_pad", "NOTSET"), r.attribute("pads", no_padding)
    if mode not in AUTO_PAD_MODES:
        raise Unreadable(f"has auto_pad={mode!r}")
    if mode in ("NOTSET", "VALID"):
        return _padding_pairs(pads if mode == "NOTSET" else no_padding, len(kernel))
    if len(r.shape) != len(kernel) + 1:
        raise Unreadable(f"has a kernel of {len(kernel)} axes for inputs {r.shape}")
    padding_pairs: _PaddingPairs = []
    for size, k, s, d in zip(r.shape[1:], kernel, stride, dilation, strict=True):
        total = max((-(-size // s) - 1) * s + d * (k - 1) + 1 - size, 0)
        smaller, larger = total // 2, total - total // 2
        padding_pairs.append((smaller, larger) if mode == "SAME_UPPER" else (larger, smaller))
    return padding_pairs


def _cropping(
    r: NodeReading, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], output_padding: Sequence[int]
) -> _PaddingPairs:
    """Return the sizes that a transposed convolution crops at both ends of each axis.

    They follow from the attributes "pads", "auto_pad" and "output_shape".
    """
    n_axes = len(kernel)
    mode, shape = r.attribute("auto_pad", "NOTSET"), r.attribute("output_shape", None)
    pads = r.attribute("pads", [0] * 2 * n_axes)
    if mode in ("SAME_UPPER", "SAME_LOWER") or shape is not None:
        input_sizes = r.shape[-n_axes:]
        output_sizes = (
            shape[-n_axes:] if shape is not None else [size * s for size, s in zip(input_sizes, stride, strict=True)]
        )
        geometry = zip(input_sizes, output_sizes, stride, kernel, dilation, output_padding, strict=True)
        totals = [s * (size - 1) + o + d * (k - 1) + 1 - output_size for size, output_size, s, k, d, o in geometry]
        pairs = [(max(total, 0) // 2, max(total, 0) - max(total, 0) // 2) for total in totals]
        return pairs if mode != "SAME_LOWER" else [(after, before) for before, after in pairs]
    if mode not in ("NOTSET", "VALID"):
        raise Unreadable(f"has auto_pad={mode!r}")
    return _padding_pairs(pads if mode == "NOTSET" else [0] * 2 * n_axes, n_axes)


def _padding_pairs(pads: Sequence[int], n_axes: int) -> _PaddingPairs:
    """Return (before, after) for each axis, from ONNX's pads: all sizes before, then all sizes after."""
    if len(pads) != 2 * n_axes:
        raise Unreadable(f"has {len(pads)} pads for {n_axes} axes")
    return list(zip(pads[:n_axes], pads[n_axes:], strict=True))


def _reversed_padding(padding_pairs: _PaddingPairs) -> tuple[int, ...]:
    """Return the argument of Pad, which starts with the last axis."""
    return tuple(width for pair in reversed(padding_pairs) for width in pair)
