"""Coefficients of linear models: as bars, and as a function of the regularization strength."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from pellucid.report.figures.style import (
    BLUE,
    FIGURE_WIDTH,
    INK,
    ORANGE,
    PALE,
    SMALL,
    TEXT,
    CurveEnd,
    Plot,
    depth_colours,
    label_ends,
    light_grid,
    single_plot,
    style_axes,
    truncate,
)

MAX_BARS = 40
MAX_LABELS = 12  # labelled curves
LEFT_MARGIN, GAP, FIGURE_HEIGHT = 0.75, 0.2, 3.3  # inches: left margin, space between plots, height of the figure


def coefficients(names: Sequence[str], values: Any, title: str = "coefficient") -> Figure:
    """Draw coefficients (n,), or their norms over classes for (classes, n), as bars, the largest first.

    Positive coefficients are blue, negative ones orange; only the MAX_BARS largest are drawn.
    """
    array = np.asarray(values, dtype=np.float64)
    magnitudes = np.linalg.norm(array, axis=0) if array.ndim == 2 and len(array) > 1 else array.reshape(-1)
    order: list[int] = np.argsort(-np.abs(magnitudes), kind="stable")[:MAX_BARS].tolist()
    left_margin = 0.4 + 0.075 * max(len(truncate(names[k], 24)) for k in order)
    height = 0.22 * len(order)
    figure, plot = single_plot(left_margin + 5.4, height + 0.75, (left_margin, 0.55, 0.4, 0.2))
    light_grid(plot)
    positions = np.arange(len(order))
    plot.barh(positions, magnitudes[order], color=[BLUE if magnitudes[k] >= 0 else ORANGE for k in order], height=0.7)
    plot.axvline(0, color=PALE, linewidth=0.8)
    plot.set_yticks(positions, [truncate(names[k], 24) for k in order], fontsize=SMALL)
    plot.set_ylim(len(order) - 0.4, -0.6)
    n_omitted = len(magnitudes) - len(order)
    note = f", the largest {len(order)} of {len(magnitudes)}" if n_omitted else ""
    label = "norm of the coefficients over the classes" if array.ndim == 2 and len(array) > 1 else title
    plot.set_xlabel(label + note, color=INK, fontsize=TEXT)
    return figure


def coefficient_paths(names: Sequence[str], alphas: Any, coefficients: Mapping[str, Any]) -> Figure:
    """Draw the coefficients (fits, n) of each model, by title, over the ascending strengths alphas (fits,).

    There is a plot for each model, all with the same scales. Labels name the MAX_LABELS coefficients of the last model
    with the largest magnitudes at the smallest alpha.
    """
    strengths = np.asarray(alphas, dtype=np.float64)
    values = {title: np.asarray(paths, dtype=np.float64) for title, paths in coefficients.items()}
    last_paths = [*values.values()][-1]
    order: list[int] = np.argsort(-np.abs(last_paths[0]), kind="stable").tolist()
    short_names = [truncate(name, 22) for name in names]
    right_margin = 0.35 + 0.075 * max(len(short_names[k]) for k in order[:MAX_LABELS])
    plot_width = (FIGURE_WIDTH - LEFT_MARGIN - right_margin - GAP * (len(values) - 1)) / len(values)
    figure, ends = Plot((FIGURE_WIDTH, FIGURE_HEIGHT)), list[CurveEnd]()
    for index, (title, paths) in enumerate(values.items()):
        bounds = (
            (LEFT_MARGIN + index * (plot_width + GAP)) / FIGURE_WIDTH,
            0.55 / FIGURE_HEIGHT,
            plot_width / FIGURE_WIDTH,
            (FIGURE_HEIGHT - 0.9) / FIGURE_HEIGHT,
        )
        first_plot = figure.axes[0] if index else None
        plot = figure.add_axes(bounds, sharex=first_plot, sharey=first_plot)
        style_axes(plot)
        light_grid(plot)
        for k, colour in zip(order, depth_colours(len(order)), strict=True):
            (line,) = plot.plot(strengths, paths[:, k], color=colour, linewidth=1.5)
            if len(values) == 1:
                figure.lines_by_name.append((names[k], line))
            if paths is last_paths and len(ends) < MAX_LABELS:
                ends.append(CurveEnd(strengths[0], paths[0, k], short_names[k], colour))
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
