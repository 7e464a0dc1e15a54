"""Objects drawn into the pixels of an image: boxes with labels, masks, and key-points."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import font_manager
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pellucid.report.figures.objects import MASK_OPACITY
from pellucid.report.figures.pictures import palette
from pellucid.report.figures.plane import class_colour
from pellucid.report.figures.style import INK, ORANGE

LINE_WIDTH, FONT_HEIGHT = 0.003, 0.022  # thickness of a box and height of its label, as fractions of the longer side
MIN_FONT_SIZE, MAX_FONT_SIZE = 11, 60  # pixels
MIN_SIDE = 400  # pixels of the longer side, below which images are enlarged
POINT_RADIUS = 0.008  # of a key-point, as a fraction of the longer side
SUPERSAMPLING = 4  # points are drawn at this scale and averaged, for smooth outlines
MAX_SUPERSAMPLED_SIDE = 2000  # pixels of the longer side, above which points are drawn at scale 1, to save memory


def object_overlay(
    image: Any, boxes: Any, labels: Any, texts: Sequence[str], n_classes: int, masks: Any = None, keypoints: Any = None
) -> NDArray[np.uint8]:
    """Return an image (H, W, 3) uint8 with objects drawn over it, the first on top.

    boxes: (n, 4) in pixels; pixel i covers [i, i + 1). labels: class indices (n,), which determine the colours; objects
    with masks (n, H, W) have different colours. texts: a label for each. keypoints: (n, K, 3) or None. An image below
    MIN_SIDE pixels is enlarged by an integer factor to at least this size.
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    colours = [
        tuple(round(255 * channel) for channel in to_rgb(class_colour(int(label), n_classes))) for label in labels
    ]
    if masks is not None:
        colours = [tuple(colour) for colour in palette(max(len(boxes), 1)).tolist()]
        image = _blend_masks(image, boxes, np.asarray(masks), colours)
    enlarged, factor = enlarge(image)
    draw = ImageDraw.Draw(enlarged)
    longer_side = max(enlarged.size)
    line_width = max(2, round(LINE_WIDTH * longer_side))
    font_size = min(max(round(FONT_HEIGHT * longer_side), MIN_FONT_SIZE), MAX_FONT_SIZE)
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), font_size)
    for k in reversed(range(len(boxes))):
        x0, y0, x1, y1 = (boxes[k] * factor).tolist()
        draw.rectangle((x0, y0, max(x1 - 1, x0), max(y1 - 1, y0)), outline=colours[k], width=line_width)
    for k in reversed(range(len(boxes))):
        _write_label(draw, (boxes[k] * factor).tolist(), texts[k], colours[k], font, enlarged.size)
    if keypoints is not None:
        return draw_points(enlarged, np.asarray(keypoints)[..., :2].reshape(-1, 2) * factor)
    return np.array(enlarged)


def _blend_masks(image: Any, boxes: Any, masks: Any, colours: Sequence[tuple[int, ...]]) -> NDArray[np.uint8]:
    """Return the image (H, W, 3) blended with the colours of the masks, within their boxes."""
    pixels = np.array(image)
    for (x0, y0, x1, y1), mask, colour in zip(boxes, masks, colours, strict=False):
        region = (slice(max(int(y0), 0), int(np.ceil(y1))), slice(max(int(x0), 0), int(np.ceil(x1))))
        blended = pixels[region] * (1 - MASK_OPACITY) + np.array(colour) * MASK_OPACITY
        pixels[region] = np.where(mask[region][..., None], blended.round().astype(np.uint8), pixels[region])
    return pixels


def _write_label(
    draw: ImageDraw.ImageDraw,
    box: Sequence[float],
    text: str,
    colour: tuple[int, ...],
    font: ImageFont.FreeTypeFont,
    image_size: tuple[int, int],
) -> None:
    """Write a label above the upper left corner of a box, or inside if there is no space; it stays in the image."""
    left, top, right, bottom = font.getbbox(text)
    width, height = right - left + 4, bottom - top + 4
    x = min(max(box[0], 0), max(image_size[0] - width, 0))
    y = box[1] - height if box[1] >= height else box[1]
    draw.rectangle((x, y, x + width, y + height), fill=colour)
    is_light = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 150  # luma of ITU-R BT.601
    draw.text((x + 2 - left, y + 2 - top), text, fill=(0, 0, 0) if is_light else (255, 255, 255), font=font)


def keypoint_overlay(image: Any, points: Any) -> NDArray[np.uint8]:
    """Return an image (H, W, 3) uint8 with an orange dot with a dark outline at each of the points (n, K, 2).

    Coordinates are in pixels; pixel i covers [i, i + 1). An image below MIN_SIDE pixels is enlarged by an integer
    factor to at least this size.
    """
    enlarged, factor = enlarge(image)
    return draw_points(enlarged, np.asarray(points, dtype=np.float64).reshape(-1, 2) * factor)


def enlarge(image: Any) -> tuple[Image.Image, int]:
    """Return an image (H, W, 3) uint8, enlarged to at least MIN_SIDE pixels, and the integer factor, 1 if unchanged."""
    height, width = image.shape[:2]
    factor = max(1, -(-MIN_SIDE // max(height, width)))
    return Image.fromarray(image).resize((width * factor, height * factor), Image.Resampling.BICUBIC), factor


def draw_points(image: Image.Image, points: Any) -> NDArray[np.uint8]:
    """Return an image as (H, W, 3) uint8 with a dot at each of the points (n, 2), in pixels."""
    supersampling = SUPERSAMPLING if max(image.size) <= MAX_SUPERSAMPLED_SIDE else 1
    dots = Image.new("RGBA", (image.width * supersampling, image.height * supersampling))
    draw = ImageDraw.Draw(dots)
    radius = max(1.5, POINT_RADIUS * max(image.size)) * supersampling
    for x, y in (points * supersampling).tolist():
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), ORANGE, INK, round(radius / 3))
    dots = dots.resize(image.size, Image.Resampling.BOX)
    return np.array(Image.alpha_composite(image.convert("RGBA"), dots).convert("RGB"))
