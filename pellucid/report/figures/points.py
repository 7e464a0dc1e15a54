"""Parts of figures in the plane: points by class, regions of a classifier, arrows, and closed curves."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from pellucid.report.figures.plane import around, grid, pale
from pellucid.report.figures.series import colours
from pellucid.report.figures.style import INK, PALE, SMALL

STEPS = 160  # grid points along each axis, for regions
FAINT = 0.22  # strength of a region's colour


def scatter(plot: Axes, points: Any, classes: Any = None, size: float = 14) -> None:
    """Draw points (N, 2), in the colours of their classes (N,), integers from 0."""
    points = np.asarray(points)
    classes = np.zeros(len(points), dtype=int) if classes is None else np.asarray(classes)
    shades = np.array([to_rgb(colour) for colour in colours(int(classes.max()) + 1)])
    plot.scatter(*points.T, s=size, c=shades[classes], edgecolors="white", linewidths=0.4, zorder=3)


def regions(plot: Axes, predict: Callable[[Any], Any], points: Any, classes: int) -> None:
    """Colour the plane around points (N, 2) by the predicted class; predict: (M, 2) to class indices (M,)."""
    cmap = pale(colours(classes), FAINT)
    found = grid(predict, around(points), STEPS)
    plot.pcolormesh(*found, cmap=cmap, vmin=-0.5, vmax=classes - 0.5, shading="nearest", zorder=0)
    plot.grid(False)


def levels(plot: Axes, value: Callable[[Any], Any], points: Any, at: Sequence[float] = (-1, 0, 1)) -> None:
    """Draw the contour lines of a function at the levels `at`: 0 solid, others dashed; value: (M, 2) to (M,)."""
    styles = ["solid" if level == 0 else "dashed" for level in at]
    found = grid(value, around(points), STEPS)
    plot.contour(*found, levels=list(at), colors=INK, linewidths=1.1, linestyles=styles, zorder=2)


def arrow(plot: Axes, vector: Any, name: str = "", colour: str = INK, start: Any = (0.0, 0.0)) -> None:
    """Draw a vector (2,) from `start`, with its name at the tip."""
    tip = (float(start[0] + vector[0]), float(start[1] + vector[1]))
    plot.annotate(
        "", tip, start, arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 1.6, "shrinkA": 0, "shrinkB": 0}
    )
    plot.annotate(name, tip, xytext=(4, 4), textcoords="offset points", color=colour, fontsize=SMALL)
    plot.update_datalim([start, tip])


def loop(plot: Axes, points: Any, colour: str = PALE, name: str = "") -> None:
    """Draw a closed curve through points (N, 2)."""
    points = np.asarray(points)
    plot.plot(*np.concatenate([points, points[:1]]).T, color=colour, linewidth=1.6, label=name)


def crosses(plot: Axes, points: Any) -> None:
    """Mark points (N, 2), such as the centres of clusters."""
    plot.scatter(*np.asarray(points).T, s=60, marker="X", c=INK, edgecolors="white", linewidths=0.8, zorder=4)


def rings(plot: Axes, points: Any) -> None:
    """Draw a ring around each of the points (N, 2), such as support vectors."""
    plot.scatter(*np.asarray(points).T, s=34, facecolors="none", edgecolors=INK, linewidths=0.7, zorder=4)


def tags(plot: Axes, places: Mapping[str, Any]) -> None:
    """Write names at points (2,), on a white background."""
    for name, place in places.items():
        box = {"boxstyle": "circle,pad=0.2", "facecolor": "white", "edgecolor": PALE, "alpha": 0.85}
        plot.annotate(name, place, ha="center", va="center", color=INK, fontsize=SMALL, bbox=box, zorder=5)
