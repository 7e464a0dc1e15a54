"""Conversion of Pillow images, including transparent and 16-bit images, to grey or RGB."""

from typing import Any, Literal

import numpy as np
from PIL import Image

ColourMode = Literal["RGB", "L"]
MIN_RANGE = 10  # of 255; images with a smaller or equal range of values count as uniform


def flatten_mode(image: Image.Image, mode: ColourMode) -> Image.Image:
    """Convert any Pillow mode to RGB or L, composited over white, or over black if the result over white is uniform."""
    check_not_float(image)
    if image.mode.startswith("I"):  # "I" and "I;16...": 16-bit grey
        image = Image.fromarray((sixteen_bit_values(image) >> 8).astype(np.uint8))
    if not image.has_transparency_data:
        return image if image.mode == mode else image.convert(mode)
    image = image.convert("RGBA")
    on_white = _composite_over(255, image).convert(mode)
    if _value_range(on_white) > MIN_RANGE:
        return on_white
    on_black = _composite_over(0, image).convert(mode)
    return on_black if _value_range(on_black) > MIN_RANGE else on_white


def check_not_float(image: Image.Image) -> None:
    """Raise ValueError for an image of floats."""
    if image.mode == "F":
        raise ValueError("32-bit floats; convert it to 8 bits")


def sixteen_bit_values(image: Image.Image) -> Any:
    """Return the values of an image in Pillow's mode "I" or "I;16"; raise ValueError for more than 16 bits."""
    values = np.array(image).astype(np.int64)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise ValueError("32-bit integers; convert it to 8 bits")
    return values


def _composite_over(grey: int, image: Image.Image) -> Image.Image:
    """Composite an RGBA image over a uniform grey background."""
    return Image.alpha_composite(Image.new("RGBA", image.size, (grey, grey, grey, 255)), image)


def _value_range(image: Image.Image) -> int:
    """Return the range of values of an image, the largest over its channels."""
    values = np.asarray(image)  # (H, W) or (H, W, 3)
    return int(np.max(values.max(axis=(0, 1)) - values.min(axis=(0, 1))))
