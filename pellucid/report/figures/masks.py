"""Pictures under the colours of their classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pellucid.report.figures.style import INK, SMALL

OPAQUE = 0.55  # of the colours over the picture
GOLDEN = 0.61803398875  # steps round the colour circle by which no two of a few classes look alike
WIDE = 7.6  # inches


def palette(classes: int) -> NDArray[np.uint8]:
    """Return a colour for each class, (classes, 3): hues a golden section apart, three brightnesses in turn."""
    number = np.arange(classes)
    hue, value = number * GOLDEN % 1, np.array([1.0, 0.75, 0.5])[number % 3]
    wheel = (hue[:, None] * 6 + np.array([0.0, 4.0, 2.0])) % 6  # (classes, 3)
    full = np.clip(np.abs(wheel - 3) - 1, 0, 1)
    return ((0.2 + 0.8 * full) * value[:, None] * 255).round().astype(np.uint8)


def overlay(image: Any, mask: Any, classes: int) -> NDArray[np.uint8]:
    """Return a picture (H, W, 3) uint8 under the colours of its classes (H, W); other classes show the picture."""
    mask = np.asarray(mask).astype(np.int64)
    known = (mask < classes)[..., None]
    colours = palette(classes)[np.minimum(mask, classes - 1)]
    mixed = image * (1 - OPAQUE) + colours * OPAQUE
    return np.where(known, mixed, image).round().astype(np.uint8)


def worst_masks(
    images: Any, true: Any, predicted: Any, scores: Sequence[float], classes: Sequence[str]
) -> Figure | None:
    """Draw pictures beside their true and predicted classes, with a legend.

    images: (n, H, W, 3) uint8; true, predicted: (n, H, W); scores: each picture's mean IoU. None without pictures.
    """
    if not len(images):
        return None
    height, width = images[0].shape[:2]
    side = WIDE / 3
    rows, tall = len(images), side * height / width + 0.22
    legend = 0.24 * -(-len(classes) // 6) + 0.1
    figure = Figure((WIDE, rows * tall + legend))
    total = rows * tall + legend
    for row, (image, mask, said, score) in enumerate(zip(images, true, predicted, scores, strict=True)):
        shown = (image, overlay(image, mask, len(classes)), overlay(image, said, len(classes)))
        for column, (picture, words) in enumerate(
            zip(shown, ("picture", "true", f"predicted: {score:.2f}"), strict=True)
        ):
            bottom = total - (row + 1) * tall
            plot = figure.add_axes((column / 3 + 0.004, bottom / total, 1 / 3 - 0.008, (tall - 0.22) / total))
            plot.imshow(picture, interpolation="nearest")
            plot.set_axis_off()
            plot.set_title(words, fontsize=SMALL, color=INK, pad=3)
    for k, (name, colour) in enumerate(zip(classes, palette(len(classes)) / 255, strict=True)):
        figure.text(
            (k % 6) / 6 + 0.02, (legend - 0.16 - 0.24 * (k // 6)) / total, f"■ {name:.16}", color=tuple(colour),
            fontsize=SMALL,
        )  # fmt: skip
    return figure
