"""Checks of shapes and dtypes that layers share; each raises PellucidError."""

from typing import Any, cast

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check_not_negative
from pellucid.layers.base import pair


def check_image_shape(layer: object, shape: Any) -> tuple[int, int, int]:
    """Return `shape`; raise PellucidError unless it is (channels, height, width)."""
    if len(shape) != 3 or not all(isinstance(size, int) for size in shape):
        raise PellucidError(
            f"{type(layer).__name__} takes images of shape (channels, height, width), not {tuple(shape)}; "
            + ("add a channel axis to grey images, x[:, None]" if len(shape) == 2 else "put Reshape before it")
        )
    return shape


def window_outputs(
    layer: object,
    size: tuple[int, ...],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
    ceil_mode: bool = False,
) -> tuple[int, int]:
    """Return the number of window positions along (height, width); raise PellucidError if there are none.

    The number is floor((size + 2 p - d (k - 1) - 1) / s) + 1. With `ceil_mode`, the quotient is rounded up instead, but
    no window starts in the padding beyond the input (Dumoulin and Visin 2016, relationship 6).
    """
    counts: list[int] = []
    for axis, length, k, s, p, d in zip(("height", "width"), size, kernel, stride, padding, dilation, strict=True):
        last_start = length + 2 * p - d * (k - 1) - 1
        count = check_window_output(layer, axis, last_start // s + 1)
        if ceil_mode and last_start % s and count * s < length + p:
            count += 1
        counts.append(count)
    return counts[0], counts[1]


def check_windows_overlap_input(
    layer: object,
    size: tuple[int, ...],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> None:
    """Raise PellucidError if all pixels of a window are in the padding.

    This is only possible for windows that start in the padding, on images shorter than the dilation.
    """
    axes = zip(("height", "width"), size, kernel, stride, padding, dilation, strict=True)
    for axis, length, k, s, p, d in axes:
        starts = range(-p, 0, s) if length < d else ()
        if any(all(not 0 <= start + d * i < length for i in range(k)) for start in starts):
            raise PellucidError(
                f"{type(layer).__name__}: along its {axis} of {length} the input falls between the pixels of a window "
                f"with dilation={dilation} and padding={padding}; use less dilation or no padding"
            )


def check_window_output(layer: object, axis: str, size: int) -> int:
    """Return `size`, the number of window positions along an axis; raise PellucidError unless it is at least 1."""
    if size < 1:
        raise PellucidError(
            f"{type(layer).__name__}: the input is smaller than the window along its {axis}; "
            "use a smaller kernel or dilation, or more padding"
        )
    return size


def check_same_shapes(layer: object, shapes: tuple[tuple[int, ...], ...]) -> tuple[int, ...]:
    """Return the common shape of two or more inputs; raise PellucidError if the shapes differ."""
    if len(shapes) < 2 or any(shape != shapes[0] for shape in shapes):
        raise PellucidError(f"{type(layer).__name__} takes two or more inputs of the same shape, not {shapes}")
    return shapes[0]


def check_pool_padding(layer: object, padding: int | tuple[int, int], kernel: int | tuple[int, int]) -> None:
    """Raise PellucidError for padding of more than half the window, as a window could be entirely in the padding."""
    check_not_negative(layer, padding=padding)
    for p, k in zip(pair(padding), pair(kernel), strict=True):
        if 2 * p > k:
            raise PellucidError(
                f"{type(layer).__name__}: padding={padding!r} is more than half of kernel={kernel!r}; "
                "put Pad2d before it"
            )


def check_axis(layer: object, axis: int, shape: Any) -> None:
    """Raise PellucidError unless inputs have the axis; axis 0 is the batch axis, which `shape` does not contain."""
    if axis > len(shape):
        raise PellucidError(
            f"{type(layer).__name__}: inputs of shape (N, {', '.join(map(str, shape))}) have no axis {axis}"
        )


FLOATING = frozenset((torch.float32, torch.float64, torch.bfloat16))


def check_floating(x: Any) -> None:
    """Raise PellucidError unless x is float32, float64 or bfloat16, or float16 on a device other than the CPU.

    In a tuple, int64 tensors after the first are accepted as switches (indices of maxima). `sweep.forward` checks a
    network's input, because some layers would accept integers without an error and return wrong gradients; the layers
    do not check it themselves.
    """
    if isinstance(x, tuple):
        first_input, *extra_inputs = cast("tuple[Any, ...]", x)
        check_floating(first_input)
        for extra_input in extra_inputs:
            if not (isinstance(extra_input, Tensor) and extra_input.dtype is torch.int64):
                check_floating(extra_input)
        return
    if not isinstance(x, Tensor):
        raise PellucidError(f"a network takes a tensor, not {type(x).__name__}; use torch.as_tensor")
    if x.dtype not in FLOATING and (x.dtype is not torch.float16 or x.device.type == "cpu"):
        raise PellucidError(
            f"networks do not support {str(x.dtype).removeprefix('torch.')} on {x.device.type}; "
            "convert the input to float32, float64 or bfloat16"
        )
