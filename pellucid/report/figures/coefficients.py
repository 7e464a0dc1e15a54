"""Coefficients of linear models: as bars, and as a function of the regularization strength."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from pellucid.report.figures.style import (
    BLUE,
    INK,
    ORANGE,
    PALE,
    SMALL,
    TEXT,
    WIDE,
    End,
    Plot,
    axes,
    cut,
    depth_colours,
    label_ends,
    light_grid,
    plain,
)

MAX_BARS = 40
MAX_LABELS = 12  # of curves
LEFT, GAP, HEIGHT = 0.75, 0.2, 3.3  # inches: left margin, space between plots, height of the figure


def coefficients(names: Sequence[str], values: Any, title: str = "coefficient") -> Figure:
    """Draw coefficients (n,), or their norms over classes for (classes, n), as bars, the largest first.

    Positive coefficients are blue, negative ones orange; only the MAX_BARS largest are drawn.
    """
    array = np.asarray(values, dtype=np.float64)
    numbers = np.linalg.norm(array, axis=0) if array.ndim == 2 and len(array) > 1 else array.reshape(-1)
    order: list[int] = np.argsort(-np.abs(numbers), kind="stable")[:MAX_BARS].tolist()
    left = 0.4 + 0.075 * max(len(cut(names[k], 24)) for k in order)
    height = 0.22 * len(order)
    figure, plot = axes(left + 5.4, height + 0.75, (left, 0.55, 0.4, 0.2))
    light_grid(plot)
    positions = np.arange(len(order))
    plot.barh(positions, numbers[order], color=[BLUE if numbers[k] >= 0 else ORANGE for k in order], height=0.7)
    plot.axvline(0, color=PALE, linewidth=0.8)
    plot.set_yticks(positions, [cut(names[k], 24) for k in order], fontsize=SMALL)
    plot.set_ylim(len(order) - 0.4, -0.6)
    left_out = len(numbers) - len(order)
    note = f", the largest {len(order)} of {len(numbers)}" if left_out else ""
    label = "norm of the coefficients over the classes" if array.ndim == 2 and len(array) > 1 else title
    plot.set_xlabel(label + note, color=INK, fontsize=TEXT)
    return figure


def coefficient_paths(names: Sequence[str], alphas: Any, coefficients: Mapping[str, Any]) -> Figure:
    """Draw the coefficients (fits, n) of each model, by title, over the ascending strengths alphas (fits,).

    There is a plot for each model, all on the same axes. The labels are for the MAX_LABELS coefficients of the last
    model that are largest at the smallest alpha.
    """
    strengths = np.asarray(alphas, dtype=np.float64)
    values = {title: np.asarray(paths, dtype=np.float64) for title, paths in coefficients.items()}
    last = [*values.values()][-1]
    order: list[int] = np.argsort(-np.abs(last[0]), kind="stable").tolist()
    short = [cut(name, 22) for name in names]
    right = 0.35 + 0.075 * max(len(short[k]) for k in order[:MAX_LABELS])
    width = (WIDE - LEFT - right - GAP * (len(values) - 1)) / len(values)
    figure, ends = Plot((WIDE, HEIGHT)), list[End]()
    for index, (title, paths) in enumerate(values.items()):
        bounds = (LEFT + index * (width + GAP)) / WIDE, 0.55 / HEIGHT, width / WIDE, (HEIGHT - 0.9) / HEIGHT
        shared = figure.axes[0] if index else None
        plot = figure.add_axes(bounds, sharex=shared, sharey=shared)
        plain(plot)
        light_grid(plot)
        for k, colour in zip(order, depth_colours(len(order)), strict=True):
            (line,) = plot.plot(strengths, paths[:, k], color=colour, linewidth=1.5)
            if len(values) == 1:
                figure.lines_by_name.append((names[k], line))
            if paths is last and len(ends) < MAX_LABELS:
                ends.append(End(strengths[0], paths[0, k], short[k], colour))
        plot.axhline(0, color=PALE, linewidth=0.8)
        plot.set_title(title, color=INK, fontsize=TEXT)
        plot.set_xlabel("alpha", color=INK, fontsize=TEXT)
        plot.tick_params(labelleft=not index)
    first = figure.axes[0]
    first.set_ylabel("coefficient", color=INK, fontsize=TEXT)
    if (strengths > 0).all():
        first.set_xscale("log")
        first.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        first.xaxis.set_minor_formatter(NullFormatter())
    if len(strengths) > 1:
        first.set_xlim(strengths[-1], strengths[0])  # from the strongest penalty to the weakest
    label_ends(figure.axes[-1], ends)
    return figure
