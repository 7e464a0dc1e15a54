"""Key-points drawn over images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pellucid.report.figures.style import BLUE, INK, ORANGE, SMALL, WIDE, panels

MIN_SIDE = 400  # pixels of the longer side, below which images are enlarged
RADIUS = 0.008  # of a point, as a fraction of the longer side
FINE = 4  # points are drawn at this scale and averaged, for smooth outlines
MAX_FINE = 2000  # pixels of the longer side, above which points are drawn at scale 1, to save memory
COLUMNS = 4


def keypoint_overlay(image: Any, points: Any) -> NDArray[np.uint8]:
    """Return an image (H, W, 3) uint8 with an orange dot with a dark outline at each of the points (n, K, 2).

    Coordinates are in pixels; pixel i covers [i, i + 1). An image below MIN_SIDE pixels is enlarged by an integer
    factor to at least this size.
    """
    large, by = enlarged(image)
    return draw_points(large, np.asarray(points, dtype=np.float64).reshape(-1, 2) * by)


def enlarged(image: Any) -> tuple[Image.Image, int]:
    """Return an image (H, W, 3) uint8, enlarged to at least MIN_SIDE pixels, and the integer factor, 1 if unchanged."""
    height, width = image.shape[:2]
    by = max(1, -(-MIN_SIDE // max(height, width)))
    return Image.fromarray(image).resize((width * by, height * by), Image.Resampling.BICUBIC), by


def draw_points(large: Image.Image, points: Any) -> NDArray[np.uint8]:
    """Return an image as (H, W, 3) uint8 with a dot at each of the points (n, 2), in pixels."""
    fine = FINE if max(large.size) <= MAX_FINE else 1
    layer = Image.new("RGBA", (large.width * fine, large.height * fine))
    draw = ImageDraw.Draw(layer)
    radius = max(1.5, RADIUS * max(large.size)) * fine
    for x, y in (points * fine).tolist():
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), ORANGE, INK, round(radius / 3))
    layer = layer.resize(large.size, Image.Resampling.BOX)
    return np.array(Image.alpha_composite(large.convert("RGBA"), layer).convert("RGB"))


def worst_keypoints(images: Any, true: Any, found: Any, errors: Sequence[float]) -> Figure | None:
    """Draw images with the true and the predicted key-points of their object, connected by lines; None without images.

    images: (n, H, W, 3) uint8. true: (n, K, 3) with visibility. found: predictions (n, K, 2 or more columns). errors:
    each image's normalised mean error.
    """
    if not len(images):
        return None
    height, width = images[0].shape[:2]
    side = WIDE / COLUMNS - 0.06
    figure, plots = panels(len(images), COLUMNS, side, side * height / width, 0.06, name=0.22, left=0.03, foot=0.3)
    for plot, image, truth, points, error in zip(plots, images, true, found, errors, strict=True):
        plot.imshow(image, interpolation="antialiased", extent=(0, width, height, 0))
        seen = truth[:, 2] > 0
        for a, b in zip(truth[seen], points[seen], strict=True):
            plot.plot([a[0], b[0]], [a[1], b[1]], color="white", linewidth=0.7)
        plot.scatter(truth[seen, 0], truth[seen, 1], s=5, c=BLUE, linewidths=0)
        plot.scatter(points[seen, 0], points[seen, 1], s=5, c=ORANGE, linewidths=0)
        plot.set_axis_off()
        plot.set_title(f"{100 * error:.1f} %", fontsize=SMALL, color=INK, pad=3)
    for x, words, colour in ((0.02, "● true", BLUE), (0.14, "● predicted", ORANGE)):
        figure.text(x, 0.08 / figure.get_figheight(), words, color=colour, fontsize=SMALL)
    return figure
