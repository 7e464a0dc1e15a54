"""The regions of the classes that several classifiers predict on a plane, side by side."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap, to_rgb

from pellucid.report.figures.regions import COLOURS, MARKERS
from pellucid.report.figures.style import INK, SMALL, WIDE, Plot, panels

COLUMNS = 4
PALE = ListedColormap([tuple(0.72 + 0.28 * part for part in to_rgb(colour)) for colour in COLOURS])


def boundaries(predict: Mapping[str, Callable[[Any], Any]], points: Any, labels: Any, steps: int) -> Plot:
    """Draw what up to three classes each function (n, 2) -> (n,) predicts, and points (n, 2) with their classes (n,).

    steps: points along each side of the plane.
    """
    low, high = points.min(0), points.max(0)
    room = 0.06 * (high - low)
    across, up = (np.linspace(a, b, steps) for a, b in zip(low - room, high + room, strict=True))
    plane = np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2)
    gap = 0.1
    side = (WIDE - gap * (COLUMNS + 1)) / COLUMNS
    figure, plots = panels(len(predict), COLUMNS, side, side, gap, name=0.24, top=0.05)
    for plot, (name, function) in zip(plots, predict.items(), strict=True):
        found = np.asarray(function(plane)).reshape(steps, steps)
        plot.pcolormesh(
            across, up, found, cmap=PALE, vmin=-0.5, vmax=len(COLOURS) - 0.5, shading="nearest", rasterized=True
        )
        for k, colour in enumerate(COLOURS):
            x, y = points[labels == k].T
            plot.scatter(x, y, s=9, color=colour, marker=MARKERS[k], edgecolors="white", linewidths=0.3)
        plot.set_title(name, fontsize=SMALL, color=INK, pad=3)
    return figure
