"""Convolutions of ONNX: as Conv2d and ConvTranspose2d of images by constant kernels, else as Convolve."""

from collections.abc import Sequence
from typing import Any

from pellucid import layers
from pellucid.opening.onnx.reading import NodeReading, single_or_pair
from pellucid.opening.onnx.values import Unreadable, Value
from pellucid.operators import Convolve, Pad

PADDINGS = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")

_Ends = list[tuple[int, int]]  # padding before and after, for each axis


def conv(r: NodeReading) -> Value:
    """Read Conv as Conv2d, after a Pad2d for asymmetric padding other than "same"; see also `convolve`."""
    if not _is_conv2d(r):
        return convolve(r)
    weight, bias = r.param(1), r.bias(2)
    filters, _, *kernel = weight.tensors[0].shape
    stride, dilation = r.pair("strides", 1), r.pair("dilations", 1)
    left, right, top, bottom = padding = image_padding(r, (kernel[0], kernel[1]), stride, dilation)
    options: dict[str, Any] = {
        "dilation": single_or_pair(dilation), "groups": r.take("group", 1), "bias": bool(bias)
    }  # fmt: skip
    window = single_or_pair((kernel[0], kernel[1]))
    if (left, top) == (right, bottom):
        even = layers.Conv2d(
            filters, window, stride=single_or_pair(stride), padding=single_or_pair((top, left)), **options
        )
        return r.layer(even, weight=weight, **bias)
    if stride == (1, 1):
        same = layers.Conv2d(filters, window, stride=1, padding="same", **options)
        if same.edges() == padding:
            return r.layer(same, weight=weight, **bias)
    padded = r.inner("pad", layers.Pad2d(padding))
    layer = layers.Conv2d(filters, window, stride=single_or_pair(stride), padding=0, **options)
    return r.layer(layer, padded, weight=weight, **bias)


def conv_transpose(r: NodeReading) -> Value:
    """Read ConvTranspose as ConvTranspose2d; see also `convolve_transpose`."""
    if not _is_conv2d(r):
        return convolve_transpose(r)
    weight, bias = r.param(1), r.bias(2)
    _, filters, *kernel = weight.tensors[0].shape
    stride, dilation, extra = r.pair("strides", 1), r.pair("dilations", 1), r.pair("output_padding", 0)
    (top, bottom), (left, right) = _cropped(r, kernel, stride, dilation, extra)
    groups = r.take("group", 1)
    even = (left, top) == (right, bottom)
    layer = layers.ConvTranspose2d(
        filters * groups,
        single_or_pair((kernel[0], kernel[1])),
        stride=single_or_pair(stride),
        padding=single_or_pair((top, left)) if even else 0,
        output_padding=single_or_pair(extra),
        dilation=single_or_pair(dilation),
        groups=groups,
        bias=bool(bias),
    )
    if even:
        return r.layer(layer, weight=weight, **bias)
    wide = r.inner("uncropped", layer, weight=weight, **bias)
    return r.layer(layers.Pad2d((-left, -right, -top, -bottom)), wide)


def convolve(r: NodeReading) -> Value:
    """Read Conv over any number of axes, or by computed kernels, as Convolve, after a Pad for asymmetric padding."""
    kernel, stride, dilation = _window(r)
    ends = _padding(r, kernel, stride, dilation)
    even = all(before == after for before, after in ends)
    padding = tuple(before if even else 0 for before, _ in ends)
    layer = Convolve(tuple(stride), padding, tuple(dilation), r.take("group", 1))
    x = r.x if even else r.inner("pad", Pad(_of_pad(ends)))
    return r.layer(layer, x, *_weights(r))


def convolve_transpose(r: NodeReading) -> Value:
    """Read ConvTranspose over any number of axes, or by computed kernels, as Convolve, and Pad for uneven padding."""
    kernel, stride, dilation = _window(r)
    extra = r.take("output_padding", [0] * len(kernel))
    ends = _cropped(r, kernel, stride, dilation, extra)
    even = all(before == after for before, after in ends)
    padding = tuple(before if even else 0 for before, _ in ends)
    layer = Convolve(
        tuple(stride), padding, tuple(dilation), r.take("group", 1), transposed=True, output_padding=tuple(extra)
    )
    if even:
        return r.layer(layer, r.x, *_weights(r))
    wide = r.inner("uncropped", layer, r.x, *_weights(r))
    return r.layer(Pad(_of_pad([(-before, -after) for before, after in ends])), wide)


def image_padding(
    r: NodeReading, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Return (left, right, top, bottom) of "pads" or "auto_pad"."""
    (top, bottom), (left, right) = _padding(r, kernel, stride, dilation)
    return left, right, top, bottom


def _is_conv2d(r: NodeReading) -> bool:
    """Return whether kernel and bias are constants, and the kernel is one of images; checks the kernel's shape."""
    weight = r.value(1)
    r.only(kernel_shape=[*weight.sizes[0][2:]])
    if weight.sizes[0] != weight.sizes[1] or weight.rank < 3 or not weight.is_float:
        raise Unreadable(f"has a kernel of {weight.rank} axes, or one for each example")
    return weight.rank == 4 and all(value.constant is not None for value in _weights(r))


def _weights(r: NodeReading) -> list[Value]:
    """Return the kernel, and the bias if there is one."""
    return [r.value(1), r.value(2)] if r.has_input(2) else [r.value(1)]


def _window(r: NodeReading) -> tuple[list[int], list[int], list[int]]:
    """Return the kernel's sizes, the strides and the dilations."""
    kernel = [*r.value(1).sizes[0][2:]]
    one = [1] * len(kernel)
    stride, dilation = r.take("strides", one), r.take("dilations", one)
    if not len(stride) == len(dilation) == len(kernel) == len(r.shape) - 1:
        raise Unreadable(f"has a kernel of {len(kernel)} axes for inputs {r.shape}")
    return kernel, stride, dilation


def _padding(r: NodeReading, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> _Ends:
    """Return the padding of "pads" or "auto_pad"."""
    none = [0] * 2 * len(kernel)
    mode, pads = r.take("auto_pad", "NOTSET"), r.take("pads", none)
    if mode not in PADDINGS:
        raise Unreadable(f"has auto_pad={mode!r}")
    if mode in ("NOTSET", "VALID"):
        return _ends(pads if mode == "NOTSET" else none, len(kernel))
    if len(r.shape) != len(kernel) + 1:
        raise Unreadable(f"has a kernel of {len(kernel)} axes for inputs {r.shape}")
    ends: _Ends = []
    for size, k, s, d in zip(r.shape[1:], kernel, stride, dilation, strict=True):
        total = max((-(-size // s) - 1) * s + d * (k - 1) + 1 - size, 0)
        less, more = total // 2, total - total // 2
        ends.append((less, more) if mode == "SAME_UPPER" else (more, less))
    return ends


def _cropped(
    r: NodeReading, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], extra: Sequence[int]
) -> _Ends:
    """Return what a transposed convolution leaves out at both ends, by "pads", "auto_pad" or "output_shape"."""
    count = len(kernel)
    mode, shape = r.take("auto_pad", "NOTSET"), r.take("output_shape", None)
    pads = r.take("pads", [0] * 2 * count)
    if mode in ("SAME_UPPER", "SAME_LOWER") or shape is not None:
        before = r.shape[-count:]
        wanted = shape[-count:] if shape is not None else [size * s for size, s in zip(before, stride, strict=True)]
        zipped = zip(before, wanted, stride, kernel, dilation, extra, strict=True)
        total = [s * (size - 1) + o + d * (k - 1) + 1 - out for size, out, s, k, d, o in zipped]
        halves = [(max(each, 0) // 2, max(each, 0) - max(each, 0) // 2) for each in total]
        return halves if mode != "SAME_LOWER" else [(after, before) for before, after in halves]
    if mode not in ("NOTSET", "VALID"):
        raise Unreadable(f"has auto_pad={mode!r}")
    return _ends(pads if mode == "NOTSET" else [0] * 2 * count, count)


def _ends(pads: Sequence[int], count: int) -> _Ends:
    """Return ONNX's pads, all before and then all after, as pairs."""
    if len(pads) != 2 * count:
        raise Unreadable(f"has {len(pads)} pads for {count} axes")
    return list(zip(pads[:count], pads[count:], strict=True))


def _of_pad(ends: _Ends) -> tuple[int, ...]:
    """Return the padding of Pad, whose last axis comes first."""
    return tuple(count for pair in reversed(ends) for count in pair)
