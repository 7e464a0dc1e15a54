"""Plots of functions of two variables: regions and contours, with points and paths."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb

from pellucid.report.figures.series import colours
from pellucid.report.figures.style import BLUE, INK, ORANGE, PALE, SMALL

SIDE = 121  # grid points along each axis
PALE_CLASSES = ListedColormap(["#cfe3f3", "#f7dcc8"])  # lighter BLUE and ORANGE

Limits = tuple[float, float, float, float]  # left, right, bottom, top
Function = Callable[[Any], Any]  # function of points (N, 2) that returns values (N,)


def grid(function: Function, limits: Limits, side: int = SIDE) -> tuple[Any, Any, Any]:
    """Return x (side,), y (side,) and the values (side, side) of a function on a rectangle."""
    x, y = np.linspace(*limits[:2], side), np.linspace(*limits[2:], side)
    points = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    return x, y, np.asarray(function(points), dtype=np.float64).reshape(side, side)


def around(points: Any, room: float = 0.08) -> Limits:
    """Return limits around points (N, 2); room: margin on each side, as a fraction of the extent."""
    low, high = np.min(points, 0), np.max(points, 0)
    edge = np.where(high > low, room * (high - low), 1.0)
    (left, bottom), (right, top) = low - edge, high + edge
    return left, right, bottom, top


def pale(colours: Iterable[Any], strength: float) -> ListedColormap:
    """Return the colours mixed with white; strength: fraction of the colour, 0 to 1."""
    return ListedColormap([tuple(1 - strength * (1 - np.array(to_rgb(colour)))) for colour in colours])


def halves(plot: Axes, function: Function, limits: Limits, threshold: float = 0.0) -> None:
    """Fill the region where a function is above the threshold in orange, the rest in blue, and draw the boundary."""
    x, y, values = grid(function, limits)
    above = values > threshold
    plot.pcolormesh(x, y, above, cmap=PALE_CLASSES, vmin=0, vmax=1, shading="nearest", rasterized=True)
    if above.any() and not above.all():
        plot.contour(x, y, values, levels=[threshold], colors=INK, linewidths=0.8)
    plot.set_xlim(*limits[:2])
    plot.set_ylim(*limits[2:])


def labelled_points(plot: Axes, points: Any, labels: Any) -> None:
    """Draw points (N, 2) with their class: blue circles for class 0, orange squares for class 1."""
    for (x, y), label in zip(np.asarray(points), np.asarray(labels), strict=True):
        marker, colour = ("s", ORANGE) if label else ("o", BLUE)
        plot.plot([x], [y], marker=marker, color=colour, markersize=8, markeredgecolor="white", clip_on=False)
        plot.annotate(f"{label:.0f}", (x, y), (7, 5), textcoords="offset points", color=INK, fontsize=SMALL)


def contours(plot: Axes, function: Function, limits: Limits, levels: Sequence[float]) -> None:
    """Draw the contour lines of a function at ascending levels."""
    plot.contour(*grid(function, limits), levels=levels, colors=PALE, linewidths=0.7, alpha=0.7)


def paths(plot: Axes, points: Mapping[str, Any], markers: bool = True) -> None:
    """Draw paths of points (N, 2) by name, with a ring at the common start; paths are clipped to the plot."""
    (left, right), (bottom, top) = plot.get_xlim(), plot.get_ylim()
    for (name, path), colour in zip(points.items(), colours(len(points)), strict=True):
        x, y = np.asarray(path).T
        marker, width = ("o", 1.2) if markers else (None, 0.8)
        plot.plot(x, y, color=colour, linewidth=width, marker=marker, markersize=3, label=name)
    start = np.asarray(next(iter(points.values())))[0]
    plot.plot(*start[:, None], marker="o", color=INK, markersize=8, markerfacecolor="none")
    plot.set_xlim(left, right)
    plot.set_ylim(bottom, top)
    plot.legend(frameon=False, fontsize=SMALL, labelcolor=INK, loc="lower right")
