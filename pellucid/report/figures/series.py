"""Figures of numbers by name: plots side by side."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes

from pellucid.report.figures.style import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    SMALL,
    TEXT,
    WIDE,
    Plot,
    depth_colours,
    light_grid,
    plain,
)

COLOURS = (BLUE, ORANGE, GREEN, "#8e5bb5", "#7a6a3a", INK)


def colours(count: int) -> list[str]:
    """Return `count` colours: of different hues where there are few, else a scale."""
    return list(COLOURS[:count]) if count <= len(COLOURS) else depth_colours(count)


def plots_in_rows(titles: Sequence[str], columns: int = 3, height: float = 2.6) -> tuple[Plot, list[Axes]]:
    """Return a wide figure with a titled plot for each title, in rows; height: of a row, in inches."""
    rows = math.ceil(len(titles) / columns)
    figure = Plot((WIDE, rows * height))
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.08)
    plots = [figure.add_subplot(rows, columns, k + 1) for k in range(len(titles))]
    for plot, title in zip(plots, titles, strict=True):
        plain(plot)
        light_grid(plot)
        plot.set_title(title, fontsize=TEXT, color=INK)
    return figure, plots


def name_axes(plot: Axes, xlabel: str, ylabel: str) -> None:
    """Label the axes of a plot."""
    plot.set_xlabel(xlabel, color=INK, fontsize=SMALL)
    plot.set_ylabel(ylabel, color=INK, fontsize=SMALL)
