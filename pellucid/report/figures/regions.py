"""Decision regions of a classifier, or of several side by side, in the plane of two features."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pellucid.report.figures.pictures import palette
from pellucid.report.figures.plane import PlaneFunction, around, grid, pale
from pellucid.report.figures.style import BLUE, GREEN, INK, ORANGE, SMALL, TEXT, WIDE, Plot, axes, cut, panels

COLOURS = (BLUE, ORANGE, GREEN)
STEPS = 200  # grid points along each side for one classifier
FAINT = 0.28  # strength of a region's colour
COLUMNS, GAP = 4, 0.1  # plots in a row of `boundaries`, and inches between them
MARKERS = "os^DvP*X"  # in addition to the colours, for colour-blind readers


def regions(predict: PlaneFunction, points: Any, labels: Any, classes: Sequence[str], names: Sequence[str]) -> Figure:
    """Draw the decision regions of `predict`, and points (n, 2) with class indices `labels` (n,).

    predict: function of points (N, 2) that returns class indices (N,). classes: names of the classes. names: names of
    the two features.
    """
    across, up, predicted = grid(predict, around(points), STEPS)
    colours = [class_colour(k, len(classes)) for k in range(len(classes))]
    figure, plot = axes(6.2, 4.2, (0.7, 0.55, 1.5, 0.2))
    cmap = pale(colours, FAINT)
    plot.pcolormesh(
        across, up, predicted, cmap=cmap, vmin=-0.5, vmax=len(classes) - 0.5, shading="nearest", rasterized=True
    )
    for k in range(len(classes) - 1):  # a line between each class and the ones after it
        if ((predicted <= k).any()) and (predicted > k).any():
            plot.contour(across, up, (predicted <= k).astype(float), levels=[0.5], colors=INK, linewidths=0.7)
    for k, name in enumerate(classes):
        chosen = np.asarray(labels) == k
        plot.scatter(
            points[chosen, 0], points[chosen, 1], s=22, color=colours[k], marker=MARKERS[k % len(MARKERS)],
            edgecolors="white", linewidths=0.6, label=cut(name),
        )  # fmt: skip
    plot.set_xlim(across[0], across[-1])
    plot.set_ylim(up[0], up[-1])
    plot.set_xlabel(cut(names[0], 40), color=INK, fontsize=TEXT)
    plot.set_ylabel(cut(names[1], 40), color=INK, fontsize=TEXT)
    plot.legend(frameon=False, fontsize=SMALL, loc="upper left", bbox_to_anchor=(1.02, 1.0), labelcolor=INK)
    return figure


def boundaries(predict: Mapping[str, PlaneFunction], points: Any, labels: Any, steps: int) -> Plot:
    """Draw the decision regions of several classifiers with up to three classes, and points (n, 2) with labels (n,).

    predict: functions of points (N, 2) that return class indices (N,), by name. steps: grid points along each side.
    """
    side = (WIDE - GAP * (COLUMNS + 1)) / COLUMNS
    figure, plots = panels(len(predict), COLUMNS, side, side, GAP, name=0.24, top=0.05)
    cmap = pale(COLOURS, FAINT)
    for plot, (name, function) in zip(plots, predict.items(), strict=True):
        across, up, predicted = grid(function, around(points, 0.06), steps)
        plot.pcolormesh(
            across, up, predicted, cmap=cmap, vmin=-0.5, vmax=len(COLOURS) - 0.5, shading="nearest", rasterized=True
        )
        for k, colour in enumerate(COLOURS):
            x, y = points[labels == k].T
            plot.scatter(x, y, s=9, color=colour, marker=MARKERS[k], edgecolors="white", linewidths=0.3)
        plot.set_title(name, fontsize=SMALL, color=INK, pad=3)
    return figure


def class_colour(index: int, count: int) -> Any:
    """Return the colour of a class: one of COLOURS, or of a palette for more than three classes."""
    return COLOURS[index] if count <= len(COLOURS) else tuple(palette(count)[index] / 255)
