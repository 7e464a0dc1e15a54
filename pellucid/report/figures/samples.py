"""Figures of many images: samples of a generator, and rows of images with one name for each row."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.report.figures.style import FIGURE_WIDTH, INK, SMALL, Plot, panels, pixels, show_image

GAP, NAMES_WIDTH = 0.06, 1.25  # inches: space between rows, width of their names
MAX_SIDE = 0.6  # inches: maximum width of an image
BORDER = 1  # pixels between images
BACKGROUND = 1.0  # value of the pixels between images: white


def montage(images: Any, columns: int) -> NDArray[np.float64]:
    """Return images (n, 1 or 3, H, W) with values 0..1 as one image (1 or 3, H', W'), in rows of `columns`."""
    tiles = np.asarray(images, dtype=np.float64)
    n, channels, height, width = tiles.shape
    rows = -(-n // columns)
    sheet_image = np.full(
        (channels, rows * (height + BORDER) - BORDER, columns * (width + BORDER) - BORDER), BACKGROUND
    )
    for k, tile in enumerate(tiles):
        row, column = divmod(k, columns)
        top, left = row * (height + BORDER), column * (width + BORDER)
        sheet_image[:, top : top + height, left : left + width] = tile
    return sheet_image


def sample_sheet(images: Any, columns: int = 16) -> Plot:
    """Draw images (n, 1 or 3, H, W) with values 0..1 in rows of `columns`."""
    picture = montage(images, min(columns, len(images)))
    _, pixel_height, pixel_width = picture.shape
    width = min(FIGURE_WIDTH - 2 * GAP, MAX_SIDE * min(columns, len(images)))
    figure, (plot,) = panels(1, 1, width, width * pixel_height / pixel_width, GAP, top=GAP)
    show_image(plot, pixels(picture))
    return figure


def image_rows(rows: Mapping[str, Any], columns: int = 10) -> Plot:
    """Draw a row for each name: the first `columns` images of (n, 1 or 3, H, W), with values 0..1."""
    strips = {name: montage(np.asarray(images)[:columns], columns) for name, images in rows.items()}
    _, pixel_height, pixel_width = next(iter(strips.values())).shape
    width = min(FIGURE_WIDTH - NAMES_WIDTH - 2 * GAP, MAX_SIDE * columns)
    figure, plots = panels(len(strips), 1, width, width * pixel_height / pixel_width, GAP, top=GAP, left=NAMES_WIDTH)
    for plot, (name, strip) in zip(plots, strips.items(), strict=True):
        show_image(plot, pixels(strip))
        plot.annotate(
            name, (0, 0.5), xycoords="axes fraction", xytext=(-5, 0), textcoords="offset points", ha="right",
            va="center", fontsize=SMALL, color=INK,
        )  # fmt: skip
    return figure
