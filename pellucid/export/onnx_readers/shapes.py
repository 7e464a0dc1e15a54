"""Operators of ONNX that move values, as layers."""

from math import prod

from pellucid.export.onnx_nodes import resizing, shapes
from pellucid.export.onnx_readers.reading import Found, Reading, Unreadable, edges
from pellucid.layers import Concat, Flatten, Pad2d, PadChannels, Reshape, Upsample

KINDS = {mode: kind for kind, mode in shapes.MODES.items()}  # "constant" is the later of its two kinds
RESIZED = {mode: kind for kind, mode in resizing.MODES.items()}


def flatten(it: Reading) -> Found:
    """Read Flatten as Flatten."""
    it.only(axis=1)
    return it.found(Flatten())


def reshape(it: Reading) -> Found:
    """Read Reshape as Reshape, where the batch keeps its axis."""
    it.only(allowzero=0)
    sizes, shape = it.whole(1), it.shape
    if not sizes or sizes[0] not in (0, -1) or any(size == 0 and i > len(shape) for i, size in enumerate(sizes)):
        raise Unreadable(f"reshapes to {sizes}, and the batch with it")
    rest = [shape[i] if size == 0 else size for i, size in enumerate(sizes[1:])]
    if sizes[0] == -1 and (-1 in rest or prod(rest) != prod(shape)):
        raise Unreadable(f"reshapes to {sizes}, and the batch with it")
    return it.found(Reshape(tuple(rest)))


def pad(it: Reading) -> Found:
    """Read Pad of images as Pad2d, or, where it puts channels of zeros, as PadChannels."""
    mode = it.take("mode", "constant")
    pads = it.whole(1)
    if it.given(3) or len(pads) != 8 or pads[0] or pads[4] or mode not in KINDS:
        raise Unreadable("pads something else than channels, height and width, or in a mode that is unknown")
    value = it.number(2, 0.0) if mode == "constant" else 0.0
    before, after = pads[1], pads[5]
    if before or after:
        if (mode, value) != ("constant", 0.0) or min(before, after) < 0 or any(pads[i] for i in (2, 3, 6, 7)):
            raise Unreadable("pads the channels otherwise than with zeros, or height and width too")
        return it.found(PadChannels(before, after))
    kind = KINDS[mode] if value or mode != "constant" else "zero"
    return it.found(Pad2d(edges([pads[2], pads[3], pads[6], pads[7]]), kind, value))


def cut(it: Reading) -> Found:
    """Read Slice of images as Pad2d that takes rows and columns away."""
    starts, ends, axes = it.whole(1), it.whole(2), it.whole(3) if it.given(3) else []
    if axes != [2, 3] or len(starts) != 2 or len(ends) != 2 or len(it.shape) != 3:
        raise Unreadable("cuts something else than height and width")
    if it.given(4) and it.whole(4) != [1, 1]:
        raise Unreadable("leaves pixels out")
    (top, left), (height, width) = starts, it.shape[1:]
    bottom, right = (
        size - (end + size if end < 0 else min(end, size)) for end, size in zip(ends, (height, width), strict=True)
    )
    if min(top, left) < 0:
        raise Unreadable("counts from behind")
    return it.found(Pad2d((-left, -right, -top, -bottom)))


def resize(it: Reading) -> Found:
    """Read Resize of images as Upsample: linear and cubic to any size, nearest by whole factors."""
    mode, axes = it.take("mode", "nearest"), it.take("axes", None)
    it.only(antialias=0, exclude_outside=0, cubic_coeff_a=-0.75, extrapolation_value=0.0)
    it.only(keep_aspect_ratio_policy="stretch")
    coordinates, rounding = it.take("coordinate_transformation_mode", "half_pixel"), it.take("nearest_mode", None)
    size = _size(it, axes)
    if mode == "nearest":
        factors = [new / old for new, old in zip(size, it.shape[1:], strict=True)]
        if (coordinates, rounding) != ("asymmetric", "floor") or not all(factor.is_integer() for factor in factors):
            raise Unreadable(f"takes the nearest pixel by {coordinates} and {rounding}, or not by whole factors")
        return it.found(Upsample(size=size))
    if mode not in RESIZED or coordinates not in ("half_pixel", "align_corners"):
        raise Unreadable(f"resizes by {mode} and {coordinates}")
    return it.found(Upsample(size=size, kind=RESIZED[mode], align_corners=coordinates == "align_corners"))


def concat(it: Reading) -> Found:
    """Read Concat as Concat."""
    axis = it.take("axis", 0)
    axis += len(it.shape) + 1 if axis < 0 else 0
    if axis < 1:
        raise Unreadable("lays batches behind one another")
    return it.merged(Concat(axis))


def _size(it: Reading, axes: list[int] | None) -> tuple[int, int]:
    """Return the output's height and width, where Resize is determined by the sizes alone."""
    images = it.shape
    if len(images) != 3 or axes not in (None, [2, 3]):
        raise Unreadable("resizes something else than height and width")
    skipped = 2 if axes is None else 0
    if it.given(3):
        sizes = it.whole(3)
        if len(sizes) != skipped + 2 or skipped:
            raise Unreadable("resizes something else than height and width")
        return sizes[0], sizes[1]
    scales = it.constant(2).tolist()
    if len(scales) != skipped + 2 or any(scale != 1 for scale in scales[:skipped]):
        raise Unreadable("resizes something else than height and width")
    sizes = [scale * old for scale, old in zip(scales[skipped:], images[1:], strict=True)]
    if not all(size.is_integer() for size in sizes):
        raise Unreadable("resizes by scales that leave parts of a pixel")
    return int(sizes[0]), int(sizes[1])
