"""Decision regions of one classifier, or of several side by side, in the plane of two features."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pellucid.report.figures.pictures import palette
from pellucid.report.figures.plane import PlaneFunction, grid_values, limits_around, pale_colours
from pellucid.report.figures.style import (
    BLUE,
    FIGURE_WIDTH,
    GREEN,
    INK,
    ORANGE,
    SMALL,
    TEXT,
    Plot,
    panels,
    single_plot,
    truncate,
)

COLOURS = (BLUE, ORANGE, GREEN)
GRID_SIDE = 200  # grid points along each side for one classifier
REGION_STRENGTH = 0.28  # fraction of the class colour in a region; the rest is white
MAX_COLUMNS, GAP = 4, 0.1  # plots in a row of `decision_boundaries`, and inches between them
MARKERS = "os^DvP*X"  # in addition to the colours, for colour-blind readers


def decision_regions(
    predict: PlaneFunction, points: Any, labels: Any, classes: Sequence[str], feature_names: Sequence[str]
) -> Figure:
    """Draw the decision regions of `predict`, and points (n, 2) with class indices `labels` (n,).

    predict: function of points (N, 2) that returns class indices (N,). classes: names of the classes.
    feature_names: names of the two features.
    """
    xs, ys, predicted = grid_values(predict, limits_around(points), GRID_SIDE)
    colours = [class_colour(k, len(classes)) for k in range(len(classes))]
    figure, plot = single_plot(6.2, 4.2, (0.7, 0.55, 1.5, 0.2))
    cmap = pale_colours(colours, REGION_STRENGTH)
    plot.pcolormesh(
        xs, ys, predicted, cmap=cmap, vmin=-0.5, vmax=len(classes) - 0.5, shading="nearest", rasterized=True
    )
    for k in range(len(classes) - 1):  # a line between class k and all later classes
        if ((predicted <= k).any()) and (predicted > k).any():
            plot.contour(xs, ys, (predicted <= k).astype(float), levels=[0.5], colors=INK, linewidths=0.7)
    for k, name in enumerate(classes):
        in_class = np.asarray(labels) == k
        plot.scatter(
            points[in_class, 0], points[in_class, 1], s=22, color=colours[k], marker=MARKERS[k % len(MARKERS)],
            edgecolors="white", linewidths=0.6, label=truncate(name),
        )  # fmt: skip
    plot.set_xlim(xs[0], xs[-1])
    plot.set_ylim(ys[0], ys[-1])
    plot.set_xlabel(truncate(feature_names[0], 40), color=INK, fontsize=TEXT)
    plot.set_ylabel(truncate(feature_names[1], 40), color=INK, fontsize=TEXT)
    plot.legend(frameon=False, fontsize=SMALL, loc="upper left", bbox_to_anchor=(1.02, 1.0), labelcolor=INK)
    return figure


def decision_boundaries(predictors: Mapping[str, PlaneFunction], points: Any, labels: Any, grid_side: int) -> Plot:
    """Draw the decision regions of several classifiers with up to three classes, and points (n, 2) with labels (n,).

    predictors: functions of points (N, 2) that return class indices (N,), by name. grid_side: grid points along each
    side.
    """
    side = (FIGURE_WIDTH - GAP * (MAX_COLUMNS + 1)) / MAX_COLUMNS
    figure, plots = panels(len(predictors), MAX_COLUMNS, side, side, GAP, name_height=0.24, top=0.05)
    cmap = pale_colours(COLOURS, REGION_STRENGTH)
    for plot, (name, function) in zip(plots, predictors.items(), strict=True):
        xs, ys, predicted = grid_values(function, limits_around(points, 0.06), grid_side)
        plot.pcolormesh(
            xs, ys, predicted, cmap=cmap, vmin=-0.5, vmax=len(COLOURS) - 0.5, shading="nearest", rasterized=True
        )
        for k, colour in enumerate(COLOURS):
            x, y = points[labels == k].T
            plot.scatter(x, y, s=9, color=colour, marker=MARKERS[k], edgecolors="white", linewidths=0.3)
        plot.set_title(name, fontsize=SMALL, color=INK, pad=3)
    return figure


def class_colour(index: int, count: int) -> Any:
    """Return the colour of a class: one of COLOURS, or of a palette for more than three classes."""
    return COLOURS[index] if count <= len(COLOURS) else tuple(palette(count)[index] / 255)
