"""Figures of named series: curves, histories of trainings, histograms, and plots side by side."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.ticker import MaxNLocator

from pellucid.report.figures.style import (
    BLUE,
    FIGURE_WIDTH,
    GREEN,
    INK,
    ORANGE,
    SMALL,
    TEXT,
    CurveEnd,
    Plot,
    curve_axes,
    depth_colours,
    finite_or_nan,
    label_ends,
    light_grid,
    set_log_scale,
    single_plot,
    style_axes,
)

COLOURS = (BLUE, ORANGE, GREEN, "#8e5bb5", "#7a6a3a", INK)
COLUMN_LABELS = {
    "train_loss": "training cost",
    "val_loss": "test cost",
    "train_accuracy": "training accuracy (%)",
    "val_accuracy": "test accuracy (%)",
}  # labels of columns, for histories whose validation data are the test images


def colours(n_colours: int) -> list[str]:
    """Return `n_colours` colours: COLOURS if these are enough, otherwise a colour scale."""
    return list(COLOURS[:n_colours]) if n_colours <= len(COLOURS) else depth_colours(n_colours)


def curves(
    series: Mapping[str, Any],
    xlabel: str,
    ylabel: str,
    x: Sequence[float] | None = None,
    log: bool = False,
    log_x: bool = False,
    unit: str = "",
) -> Plot:
    """Draw curves by name, each labelled at its end.

    x: x values of all curves, by default 1, 2, ... log, log_x: whether the y axis and the x axis are logarithmic; a
    logarithmic x axis has its ticks at `x`. unit: of the values.
    """
    figure, plot = curve_axes(xlabel, ylabel, unit)
    ends = []
    for (name, values), colour in zip(series.items(), colours(len(series)), strict=True):
        xs = range(1, len(values) + 1) if x is None else x
        (line,) = plot.plot(xs, values, color=colour, linewidth=1.7)
        figure.lines_by_name.append((name, line))
        ends.append(CurveEnd(float(xs[-1]), float(values[-1]), name, to_hex(colour)))
    if x is None or all(type(value) is int for value in x):
        plot.xaxis.set_major_locator(MaxNLocator(integer=True))
    if log_x:
        plot.set_xscale("log")
        if x is not None:
            plot.set_xticks(x, [f"{value:,g}" for value in x])
            plot.minorticks_off()
    if log:
        set_log_scale(plot)
    plot.autoscale_view()  # label_ends needs the final limits
    label_ends(plot, ends)
    return figure


def histories(
    histories_by_training: Mapping[str, Sequence[Mapping[str, Any]]], columns: Sequence[str], log: Sequence[str] = ()
) -> Plot:
    """Draw histories of several trainings by epoch: a plot for each of `columns`, a curve for each training.

    log: the columns with a logarithmic axis.
    """
    figure, plots = plots_in_rows([COLUMN_LABELS[column] for column in columns], len(columns), 3.0)
    for plot, column in zip(plots, columns, strict=True):
        scale = 100 if column.endswith("accuracy") else 1  # per cent
        for (name, history), colour in zip(
            histories_by_training.items(), colours(len(histories_by_training)), strict=True
        ):
            values = [scale * finite_or_nan(row[column]) for row in history]
            plot.plot([row["epoch"] for row in history], values, color=colour, linewidth=1.7, label=name)
        plot.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        if column in log:
            set_log_scale(plot)
        name_axes(plot, "epoch", "")
    legend_above(plots[0])
    return figure


def plots_in_rows(
    titles: Sequence[str], columns: int = 3, height: float = 2.6, square: bool = False
) -> tuple[Plot, list[Axes]]:
    """Return a wide figure with a titled plot for each title, in rows; height: inches of a row.

    square: whether both axes have the same scale.
    """
    rows = math.ceil(len(titles) / columns)
    figure = Plot((FIGURE_WIDTH, rows * height))
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.08)
    plots = [figure.add_subplot(rows, columns, k + 1) for k in range(len(titles))]
    for plot, title in zip(plots, titles, strict=True):
        style_axes(plot)
        light_grid(plot)
        plot.set_title(title, fontsize=TEXT, color=INK)
        if square:
            plot.set_aspect("equal", adjustable="box")
    return figure, plots


def legend_above(plot: Axes) -> None:
    """Draw the legend of a plot of `plots_in_rows` above the whole figure, where it covers no curve."""
    handles, labels = plot.get_legend_handles_labels()
    style = {"frameon": False, "fontsize": SMALL, "labelcolor": INK}
    plot.figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), **style)


def name_axes(plot: Axes, xlabel: str, ylabel: str) -> None:
    """Label the axes of a plot."""
    plot.set_xlabel(xlabel, color=INK, fontsize=SMALL)
    plot.set_ylabel(ylabel, color=INK, fontsize=SMALL)


def densities(samples: Mapping[str, Any], xlabel: str, limits: tuple[float, float], bins: int = 80) -> Plot:
    """Draw overlaid histograms of samples by name, each with area 1, between two limits."""
    figure, plot = single_plot(FIGURE_WIDTH, 3.0, (0.75, 0.55, 0.2, 0.2))
    for (name, values), colour in zip(samples.items(), colours(len(samples)), strict=True):
        plot.hist(values, bins, range=limits, density=True, histtype="stepfilled", color=colour, alpha=0.45, label=name)
    plot.legend(frameon=False, fontsize=SMALL, labelcolor=INK)
    name_axes(plot, xlabel, "density")
    return figure
