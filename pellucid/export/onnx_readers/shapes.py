"""ONNX operators that reshape, pad, crop, resize or concatenate, as layers."""

from math import prod

from pellucid.export.onnx_nodes import resizing, shapes
from pellucid.export.onnx_readers.reading import Found, Reading, Unreadable, edges
from pellucid.layers import Concat, Flatten, Pad2d, PadChannels, Reshape, Upsample

KINDS = {mode: kind for kind, mode in shapes.MODES.items()}  # "constant" becomes the kind "constant", not "zero"
RESIZED = {mode: kind for kind, mode in resizing.MODES.items()}


def flatten(reading: Reading) -> Found:
    """Read Flatten as Flatten."""
    reading.only(axis=1)
    return reading.found(Flatten())


def reshape(reading: Reading) -> Found:
    """Read Reshape as Reshape, if the batch axis is unchanged."""
    reading.only(allowzero=0)
    sizes, shape = reading.whole(1), reading.shape
    if not sizes or sizes[0] not in (0, -1) or any(size == 0 and i > len(shape) for i, size in enumerate(sizes)):
        raise Unreadable(f"reshapes to {sizes}, which changes the batch axis")
    rest = [shape[i] if size == 0 else size for i, size in enumerate(sizes[1:])]
    if sizes[0] == -1 and (-1 in rest or prod(rest) != prod(shape)):
        raise Unreadable(f"reshapes to {sizes}, which changes the batch axis")
    return reading.found(Reshape(tuple(rest)))


def pad(reading: Reading) -> Found:
    """Read Pad of images as Pad2d, or as PadChannels if it adds channels of zeros."""
    mode = reading.take("mode", "constant")
    pads = reading.whole(1)
    if reading.given(3) or len(pads) != 8 or pads[0] or pads[4] or mode not in KINDS:
        raise Unreadable("pads other axes than channels, height and width, or has an unknown mode")
    value = reading.number(2, 0.0) if mode == "constant" else 0.0
    before, after = pads[1], pads[5]
    if before or after:
        if (mode, value) != ("constant", 0.0) or min(before, after) < 0 or any(pads[i] for i in (2, 3, 6, 7)):
            raise Unreadable("pads channels with values other than zeros, or together with height and width")
        return reading.found(PadChannels(before, after))
    kind = KINDS[mode] if value or mode != "constant" else "zero"
    return reading.found(Pad2d(edges([pads[2], pads[3], pads[6], pads[7]]), kind, value))


def cut(reading: Reading) -> Found:
    """Read Slice of images as Pad2d with negative padding."""
    starts, ends, axes = reading.whole(1), reading.whole(2), reading.whole(3) if reading.given(3) else []
    if axes != [2, 3] or len(starts) != 2 or len(ends) != 2 or len(reading.shape) != 3:
        raise Unreadable("slices other axes than height and width")
    if reading.given(4) and reading.whole(4) != [1, 1]:
        raise Unreadable("has steps other than 1")
    (top, left), (height, width) = starts, reading.shape[1:]
    bottom, right = (
        size - (end + size if end < 0 else min(end, size)) for end, size in zip(ends, (height, width), strict=True)
    )
    if min(top, left) < 0:
        raise Unreadable("has negative starts")
    return reading.found(Pad2d((-left, -right, -top, -bottom)))


def resize(reading: Reading) -> Found:
    """Read Resize of images as Upsample: linear and cubic for any size, nearest for integer factors."""
    mode, axes = reading.take("mode", "nearest"), reading.take("axes", None)
    reading.only(antialias=0, exclude_outside=0, cubic_coeff_a=-0.75, extrapolation_value=0.0)
    reading.only(keep_aspect_ratio_policy="stretch")
    coordinates, rounding = (
        reading.take("coordinate_transformation_mode", "half_pixel"),
        reading.take("nearest_mode", None),
    )
    size = _size(reading, axes)
    if mode == "nearest":
        factors = [new / old for new, old in zip(size, reading.shape[1:], strict=True)]
        if (coordinates, rounding) != ("asymmetric", "floor") or not all(factor.is_integer() for factor in factors):
            raise Unreadable(f"uses nearest pixels with {coordinates} and {rounding}, or factors that are not integers")
        return reading.found(Upsample(size=size))
    if mode not in RESIZED or coordinates not in ("half_pixel", "align_corners"):
        raise Unreadable(f"resizes with the unsupported mode {mode} and {coordinates}")
    return reading.found(Upsample(size=size, kind=RESIZED[mode], align_corners=coordinates == "align_corners"))


def concat(reading: Reading) -> Found:
    """Read Concat as Concat."""
    axis = reading.take("axis", 0)
    axis += len(reading.shape) + 1 if axis < 0 else 0
    if axis < 1:
        raise Unreadable("concatenates along the batch axis")
    return reading.merged(Concat(axis))


def _size(reading: Reading, axes: list[int] | None) -> tuple[int, int]:
    """Return the output's height and width; raises Unreadable unless the sizes or scales are constants."""
    images = reading.shape
    if len(images) != 3 or axes not in (None, [2, 3]):
        raise Unreadable("resizes other axes than height and width")
    skipped = 2 if axes is None else 0
    if reading.given(3):
        sizes = reading.whole(3)
        if len(sizes) != skipped + 2 or skipped:
            raise Unreadable("resizes other axes than height and width")
        return sizes[0], sizes[1]
    scales = reading.constant(2).tolist()
    if len(scales) != skipped + 2 or any(scale != 1 for scale in scales[:skipped]):
        raise Unreadable("resizes other axes than height and width")
    sizes = [scale * old for scale, old in zip(scales[skipped:], images[1:], strict=True)]
    if not all(size.is_integer() for size in sizes):
        raise Unreadable("has scales that do not give integer sizes")
    return int(sizes[0]), int(sizes[1])
