"""All methods of one image on one page."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pellucid.report.figures.colours import DIVERGING, scale
from pellucid.report.figures.heat import show
from pellucid.report.figures.style import INK, SMALL, TEXT, picture_axes

SIDE, GAP, NAME, TOP = 1.55, 0.12, 0.22, 0.4  # inches
COLUMNS = 4


def overview(image: Any, maps: Mapping[str, Any], title: str, magnitudes: Collection[str]) -> Figure:
    """Draw an image (1 or 3, H, W) and the maps (H, W) of several methods, each on its own scale.

    All but those of `magnitudes` have 0 in the middle of their colours; the bars stand beside the single pictures.
    """
    picture = np.clip(np.asarray(image, dtype=np.float64), 0, 1)
    picture = picture[0] if len(picture) == 1 else np.moveaxis(picture, 0, -1)
    height = SIDE * picture.shape[0] / picture.shape[1]
    count = len(maps) + 1
    rows = -(-count // COLUMNS)
    size = (COLUMNS * (SIDE + GAP) + GAP, TOP + rows * (height + NAME + GAP))
    figure = Figure(size)
    for k, name in enumerate(["image", *maps]):
        row, column = divmod(k, COLUMNS)
        bottom = size[1] - TOP - (row + 1) * (height + NAME + GAP) + GAP
        plot = picture_axes(figure, GAP + column * (SIDE + GAP), bottom, SIDE, height)
        if k == 0:
            show(plot, picture)
        else:
            numbers = np.asarray(maps[name], dtype=np.float64)
            norm, colours = scale(numbers, name not in magnitudes)
            plot.imshow(numbers, norm=norm, cmap=colours, interpolation="none")
            name = f"{name} ±" if colours is DIVERGING else name  # noqa: PLW2901
        plot.set_title(name, fontsize=SMALL, color=INK, pad=3)
    figure.text(GAP / size[0], 1 - 0.08 / size[1], title, fontsize=TEXT, color=INK, va="top")
    return figure
