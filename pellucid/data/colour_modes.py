"""Conversion of Pillow images, including transparent, 16-bit and float images, to grey or RGB."""

from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image, ImageFile

ColourMode = Literal["RGB", "L"]
MIN_RANGE = 10  # of 255; images with a smaller or equal range of values count as uniform
FLOAT_TOLERANCE = 1e-6  # of floats from 0 to 1
_BITS_TAG, _MAXIMUM_TAG = 258, 281  # of TIFF: BitsPerSample and MaxSampleValue


class PixelValueError(ValueError):
    """Pixels with values that cannot be converted to 8 bits in the same way for all images; the message is a phrase."""


class SampleDepth(NamedTuple):
    """The bits of each value that an image uses, from 8 to 16, and whether its file states that they are fewer than 16.

    is_colour: whether the values are those of colours.
    """

    bits: int
    is_stated: bool
    is_colour: bool


def depth_of(image: Image.Image) -> SampleDepth:
    """Return the depth of an image in memory, or of a file that is not yet loaded.

    A TIFF states it by 12 bits for each value, or by MaxSampleValue if that is the largest number of some bits, such as
    4095. (PNG's chunk sBIT does not, because the values of such files have been scaled to 16 bits.)
    """
    tiles = image.tile if isinstance(image, ImageFile.ImageFile) else ()
    is_deep = image.mode.startswith("I") or any(";16" in str(tile[3]) for tile in tiles)
    if not is_deep:
        return SampleDepth(8, False, False)
    tags: Any = getattr(image, "tag_v2", {})
    bits = min([*_numbers(tags.get(_BITS_TAG)), 16])
    for largest in _numbers(tags.get(_MAXIMUM_TAG)):
        if 255 < largest < 0xFFFF and largest & (largest + 1) == 0:
            bits = min(bits, largest.bit_length())
    return SampleDepth(bits, bits < 16, not image.mode.startswith("I"))


def _numbers(value: Any) -> list[int]:
    """Return the integers in a TIFF tag, which is a number, a tuple or anything else in a damaged file."""
    return [number for number in (value if isinstance(value, tuple) else (value,)) if isinstance(number, int)]


def flatten_mode(image: Image.Image, mode: ColourMode, depth: SampleDepth) -> Image.Image:
    """Convert any Pillow mode to RGB or L, composited over white, or over black if the result over white is uniform.

    depth: of the file. Of values with more than 8 bits, the upper 8 are kept; floats from 0 to 1 become 0 to 255.
    """
    if depth.is_colour and depth.is_stated:
        raise PixelValueError(f"has colours of {depth.bits} bits in 16, which are not read; save it with 8 bits")
    if image.mode == "F":
        image = Image.fromarray((unit_floats(image) * 255).round().astype(np.uint8))
    elif image.mode.startswith("I"):  # "I" and "I;16...": 16-bit grey
        image = Image.fromarray((deep_values(image, depth) >> (depth.bits - 8)).astype(np.uint8))
    if not image.has_transparency_data:
        return image if image.mode == mode else image.convert(mode)
    image = image.convert("RGBA")
    on_white = _composite_over(255, image).convert(mode)
    if _value_range(on_white) > MIN_RANGE:
        return on_white
    on_black = _composite_over(0, image).convert(mode)
    return on_black if _value_range(on_black) > MIN_RANGE else on_white


def unit_floats(image: Image.Image) -> Any:
    """Return the values of an image of floats; raise PixelValueError unless they are from 0 to 1."""
    values = np.array(image)
    low, high = float(values.min()), float(values.max())  # NaN if there is one
    if not (low >= -FLOAT_TOLERANCE and high <= 1 + FLOAT_TOLERANCE):
        raise PixelValueError(
            f"has floats from {low:g} to {high:g}; scale all images alike to floats from 0 to 1, or to 8 bits"
        )
    return values.clip(0, 1)


def deep_values(image: Image.Image, depth: SampleDepth) -> Any:
    """Return the values of an image in Pillow's mode "I" or "I;16"; raise PixelValueError for values of other bits."""
    values = np.array(image).astype(np.int64)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= 1 << depth.bits:
        raise PixelValueError(
            f"has integers from {low:,} to {high:,}, not {depth.bits} bits; scale all images alike to 8 bits"
        )
    return values


def _composite_over(grey: int, image: Image.Image) -> Image.Image:
    """Composite an RGBA image over a uniform grey background."""
    return Image.alpha_composite(Image.new("RGBA", image.size, (grey, grey, grey, 255)), image)


def _value_range(image: Image.Image) -> int:
    """Return the range of values of an image, the largest over its channels."""
    values = np.asarray(image)  # (H, W) or (H, W, 3)
    return int(np.max(values.max(axis=(0, 1)) - values.min(axis=(0, 1))))
