"""Parts of figures in the plane: regions and contours of functions, points by class, paths, arrows, closed curves.

Also the decision regions of one classifier, or of several side by side, in the plane of two features.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure

from pellucid.report.figures.pictures import palette
from pellucid.report.figures.series import colours
from pellucid.report.figures.style import (
    BLUE,
    FIGURE_WIDTH,
    GREEN,
    INK,
    ORANGE,
    PALE,
    SMALL,
    TEXT,
    Plot,
    panels,
    single_plot,
    truncate,
)

GRID_SIDE = 121  # grid points along each axis
FINE_GRID_SIDE = 160  # grid points along each axis for regions of classifiers and contour lines
REGION_STRENGTH = 0.22  # fraction of the class colour in a region; the rest is white
PALE_CLASSES = ListedColormap(["#f7dcc8", "#cfe3f3"])  # lighter ORANGE and BLUE

Limits = tuple[float, float, float, float]  # left, right, bottom, top
PlaneFunction = Callable[[Any], Any]  # function of points (N, 2) that returns values (N,)


def grid_values(function: PlaneFunction, limits: Limits, side: int = GRID_SIDE) -> tuple[Any, Any, Any]:
    """Return x (side,), y (side,) and the values (side, side) of a function on a rectangle."""
    x, y = np.linspace(*limits[:2], side), np.linspace(*limits[2:], side)
    points = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    return x, y, np.asarray(function(points), dtype=np.float64).reshape(side, side)


def limits_around(points: Any, margin: float = 0.08) -> Limits:
    """Return limits around points (N, 2); margin: margin on each side, as a fraction of the extent."""
    low, high = np.min(points, 0), np.max(points, 0)
    margins = np.where(high > low, margin * (high - low), 1.0)
    (left, bottom), (right, top) = low - margins, high + margins
    return left, right, bottom, top


def pale_colours(colours: Iterable[Any], strength: float) -> ListedColormap:
    """Return the colours mixed with white, as a colour map; strength: fraction of the colour, 0 to 1."""
    return ListedColormap([tuple(1 - strength * (1 - np.array(to_rgb(colour)))) for colour in colours])


def half_planes(plot: Axes, function: PlaneFunction, limits: Limits, threshold: float = 0.0) -> None:
    """Fill the region where a function is above the threshold in blue, the rest in orange, and draw the boundary."""
    x, y, values = grid_values(function, limits)
    is_above = values > threshold
    plot.pcolormesh(x, y, is_above, cmap=PALE_CLASSES, vmin=0, vmax=1, shading="nearest", rasterized=True)
    if is_above.any() and not is_above.all():
        plot.contour(x, y, values, levels=[threshold], colors=INK, linewidths=0.8)
    plot.set_xlim(*limits[:2])
    plot.set_ylim(*limits[2:])


def labelled_points(plot: Axes, points: Any, labels: Any) -> None:
    """Draw points (N, 2) with their class: orange circles for class 0, blue squares for class 1."""
    for (x, y), label in zip(np.asarray(points), np.asarray(labels), strict=True):
        marker, colour = ("s", BLUE) if label else ("o", ORANGE)
        plot.plot([x], [y], marker=marker, color=colour, markersize=8, markeredgecolor="white", clip_on=False)
        plot.annotate(f"{label:.0f}", (x, y), (7, 5), textcoords="offset points", color=INK, fontsize=SMALL)


def contours(plot: Axes, function: PlaneFunction, limits: Limits, level_lines: Sequence[float]) -> None:
    """Draw the contour lines of a function at ascending levels."""
    plot.contour(*grid_values(function, limits), levels=level_lines, colors=PALE, linewidths=0.7, alpha=0.7)


def paths(plot: Axes, points: Mapping[str, Any], markers: bool = True) -> None:
    """Draw paths of points (N, 2) by name, with a ring at the common start; paths are clipped to the plot.

    The names are those of `legend_above`.
    """
    (left, right), (bottom, top) = plot.get_xlim(), plot.get_ylim()
    for (name, path), colour in zip(points.items(), colours(len(points)), strict=True):
        x, y = np.asarray(path).T
        marker, width = ("o", 1.2) if markers else (None, 0.8)
        plot.plot(x, y, color=colour, linewidth=width, marker=marker, markersize=3, label=name)
    start_point = np.asarray(next(iter(points.values())))[0]
    plot.plot(*start_point[:, None], marker="o", color=INK, markersize=8, markerfacecolor="none")
    plot.set_xlim(left, right)
    plot.set_ylim(bottom, top)


def scatter(plot: Axes, points: Any, classes: Any = None, size: float = 14) -> None:
    """Draw points (N, 2), in the colours of their classes (N,), integers from 0."""
    points = np.asarray(points)
    classes = np.zeros(len(points), dtype=int) if classes is None else np.asarray(classes)
    class_colours = np.array([to_rgb(colour) for colour in colours(int(classes.max()) + 1)])
    plot.scatter(*points.T, s=size, c=class_colours[classes], edgecolors="white", linewidths=0.4, zorder=3)


def regions(plot: Axes, predict: Callable[[Any], Any], points: Any, n_classes: int) -> None:
    """Colour the plane around points (N, 2) by the predicted class; predict: (M, 2) to class indices (M,)."""
    cmap = pale_colours(colours(n_classes), REGION_STRENGTH)
    x, y, predicted = grid_values(predict, limits_around(points), FINE_GRID_SIDE)
    plot.pcolormesh(x, y, predicted, cmap=cmap, vmin=-0.5, vmax=n_classes - 0.5, shading="nearest", zorder=0)
    plot.grid(False)


def level_lines(plot: Axes, function: Callable[[Any], Any], points: Any, levels: Sequence[float] = (-1, 0, 1)) -> None:
    """Draw the contour lines of a function at some levels: 0 solid, others dashed; function: (M, 2) to (M,)."""
    styles = ["solid" if level == 0 else "dashed" for level in levels]
    x, y, values = grid_values(function, limits_around(points), FINE_GRID_SIDE)
    plot.contour(x, y, values, levels=list(levels), colors=INK, linewidths=1.1, linestyles=styles, zorder=2)


def arrow(plot: Axes, vector: Any, name: str = "", colour: str = INK, start: Any = (0.0, 0.0)) -> None:
    """Draw a vector (2,) from `start`, with its name at the tip."""
    tip = (float(start[0] + vector[0]), float(start[1] + vector[1]))
    plot.annotate(
        "", tip, start, arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 1.6, "shrinkA": 0, "shrinkB": 0}
    )
    plot.annotate(name, tip, xytext=(4, 4), textcoords="offset points", color=colour, fontsize=SMALL)
    plot.update_datalim([start, tip])


def closed_curve(plot: Axes, points: Any, colour: str = PALE, name: str = "") -> None:
    """Draw a closed curve through points (N, 2)."""
    points = np.asarray(points)
    plot.plot(*np.concatenate([points, points[:1]]).T, color=colour, linewidth=1.6, label=name)


def crosses(plot: Axes, points: Any) -> None:
    """Mark points (N, 2), such as the centres of clusters."""
    plot.scatter(*np.asarray(points).T, s=60, marker="X", c=INK, edgecolors="white", linewidths=0.8, zorder=4)


def rings(plot: Axes, points: Any) -> None:
    """Draw a ring around each of the points (N, 2), such as support vectors."""
    plot.scatter(*np.asarray(points).T, s=34, facecolors="none", edgecolors=INK, linewidths=0.7, zorder=4)


def name_tags(plot: Axes, positions: Mapping[str, Any]) -> None:
    """Write names at points (2,), on a white background."""
    for name, position in positions.items():
        box = {"boxstyle": "circle,pad=0.2", "facecolor": "white", "edgecolor": PALE, "alpha": 0.85}
        plot.annotate(name, position, ha="center", va="center", color=INK, fontsize=SMALL, bbox=box, zorder=5)


COLOURS = (BLUE, ORANGE, GREEN)
REGIONS_GRID_SIDE = 200  # grid points along each side for one classifier
CLASS_STRENGTH = 0.28  # fraction of the class colour in a region; the rest is white
MAX_COLUMNS, GAP = 4, 0.1  # plots in a row of `decision_boundaries`, and inches between them
MARKERS = "os^DvP*X"  # in addition to the colours, for colour-blind readers


def decision_regions(
    predict: PlaneFunction, points: Any, labels: Any, classes: Sequence[str], feature_names: Sequence[str]
) -> Figure:
    """Draw the decision regions of `predict`, and points (n, 2) with class indices `labels` (n,).

    predict: function of points (N, 2) that returns class indices (N,). classes: names of the classes.
    feature_names: names of the two features.
    """
    xs, ys, predicted = grid_values(predict, limits_around(points), REGIONS_GRID_SIDE)
    colours = [class_colour(k, len(classes)) for k in range(len(classes))]
    figure, plot = single_plot(6.2, 4.2, (0.7, 0.55, 1.5, 0.2))
    cmap = pale_colours(colours, CLASS_STRENGTH)
    plot.pcolormesh(
        xs, ys, predicted, cmap=cmap, vmin=-0.5, vmax=len(classes) - 0.5, shading="nearest", rasterized=True
    )
    for k in range(len(classes) - 1):  # a line between class k and all later classes
        if ((predicted <= k).any()) and (predicted > k).any():
            plot.contour(xs, ys, (predicted <= k).astype(float), levels=[0.5], colors=INK, linewidths=0.7)
    for k, name in enumerate(classes):
        is_in_class = np.asarray(labels) == k
        plot.scatter(
            points[is_in_class, 0], points[is_in_class, 1], s=22, color=colours[k], marker=MARKERS[k % len(MARKERS)],
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
    cmap = pale_colours(COLOURS, CLASS_STRENGTH)
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


def class_colour(index: int, n_classes: int) -> Any:
    """Return the colour of a class: one of COLOURS, or of a palette for more than three classes."""
    return COLOURS[index] if n_classes <= len(COLOURS) else tuple(palette(n_classes)[index] / 255)
