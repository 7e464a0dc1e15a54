"""Figures of a sweep: curves with bands over seeds, and the result against each setting."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from pellucid.report.figures.compared import RUN_COLOURS
from pellucid.report.figures.series import name_axes, plots_in_rows
from pellucid.report.figures.style import (
    BLUE,
    DEPTH_COLOUR_MAP,
    FIGURE_WIDTH,
    INK,
    ORANGE,
    PALE,
    SMALL,
    CurveEnd,
    Plot,
    curve_axes,
    label_ends,
    style_axes,
    truncate,
)


class SettingAxis(NamedTuple):
    """A key of a recipe, with its value in each trial: numbers, or indices of `names` if there are names."""

    key: str
    values: Sequence[float]
    names: Sequence[str] = ()
    log: bool = False


EpochValues = Mapping[int, float]  # a value by epoch


def seed_bands(
    best_curves: Mapping[str, Sequence[EpochValues]], other_curves: Sequence[EpochValues], ylabel: str, unit: str
) -> Figure | None:
    """Draw the mean of each trial's curves by epoch, with a band from smallest to largest; the other curves in grey.

    best_curves: the curves by the name of the trial, one for each seed. A mean is over the epochs that all its curves
    have. unit: of the values. None if there is nothing to draw.
    """
    figure, plot = curve_axes("epoch", ylabel, unit)
    for curve in other_curves:
        plot.plot([*curve], [*curve.values()], color=PALE, linewidth=0.7, alpha=0.45)
    ends: list[CurveEnd] = []
    for k, (name, curves) in enumerate(best_curves.items()):
        epochs = sorted(set.intersection(*(set(curve) for curve in curves))) if curves else []
        if not epochs:
            continue
        colour = RUN_COLOURS[k % len(RUN_COLOURS)]
        values = np.array([[curve[epoch] for epoch in epochs] for curve in curves])
        (line,) = plot.plot(epochs, values.mean(0), color=colour, linewidth=1.7)
        if len(values) > 1:
            plot.fill_between(epochs, values.min(0), values.max(0), color=colour, alpha=0.18, linewidth=0)
        figure.lines_by_name.append((name, line))
        ends.append(CurveEnd(float(epochs[-1]), float(values.mean(0)[-1]), name, colour))
    plot.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    label_ends(plot, ends)
    return figure if ends else None


def results_by_setting(
    settings: Sequence[SettingAxis], results: Sequence[float], best_index: int, ylabel: str
) -> Figure:
    """Draw the result of each trial against each setting. best_index: index of the best trial, which is marked."""
    columns = min(3, len(settings))
    figure, plots = plots_in_rows(
        [truncate(setting.key, 28) for setting in settings], columns, 2.4 if columns > 1 else 3.0
    )
    for k, (plot, setting) in enumerate(zip(plots, settings, strict=True)):
        plot.scatter(setting.values, results, s=16, color=BLUE, alpha=0.7, linewidths=0)
        plot.scatter(
            [setting.values[best_index]],
            [results[best_index]],
            s=60,
            facecolors="none",
            edgecolors=ORANGE,
            linewidths=1.6,
        )
        _scale_axis(plot, setting)
        name_axes(plot, "", ylabel if k % columns == 0 else "")
    return figure


def parallel_coordinates(
    settings: Sequence[SettingAxis], results: Sequence[float], ylabel: str, lower_is_better: bool
) -> Figure:
    """Draw each trial as a line through its settings to its result; better results are redder."""
    figure = Plot((FIGURE_WIDTH, 3.2))
    plot = figure.add_axes((0.06, 0.2, 0.86, 0.7))
    style_axes(plot)
    axes = [*settings, SettingAxis(ylabel, results)]
    positions = np.stack([_axis_fractions(axis) for axis in axes], 1)
    order = np.argsort(results)[::-1] if lower_is_better else np.argsort(results)
    for rank, k in enumerate(order):
        rank_fraction = rank / max(len(order) - 1, 1)
        width, alpha = 0.6 + 1.4 * rank_fraction, 0.25 + 0.6 * rank_fraction
        plot.plot(range(len(axes)), positions[k], color=DEPTH_COLOUR_MAP(rank_fraction), linewidth=width, alpha=alpha)
    for k, axis in enumerate(axes):
        plot.axvline(k, color=PALE, linewidth=0.8)
        for position, text in _ticks(axis):
            plot.annotate(truncate(text, 14), (k, position), xytext=(3, 0), textcoords="offset points", color=INK,
                          fontsize=SMALL - 1.5, va="center")  # fmt: skip
    plot.set_xticks(
        range(len(axes)), [truncate(axis.key, max(8, 60 // len(axes))) for axis in axes], fontsize=SMALL - 0.5
    )
    plot.set_yticks([])
    plot.set_xlim(-0.05, len(axes) - 0.55)
    plot.set_ylim(-0.06, 1.06)
    plot.spines["left"].set_visible(False)
    return figure


def _scale_axis(plot: Axes, axis: SettingAxis) -> None:
    if axis.names:
        plot.set_xticks(range(len(axis.names)), [truncate(name, 10) for name in axis.names], fontsize=SMALL - 1)
        plot.set_xlim(-0.5, len(axis.names) - 0.5)
    elif axis.log:
        plot.set_xscale("log")
        plot.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        plot.minorticks_off()
    else:
        plot.xaxis.set_major_locator(MaxNLocator(nbins=4))


def _axis_fractions(axis: SettingAxis) -> np.ndarray:
    """Return the positions of values on an axis, from 0 to 1."""
    values = np.asarray(axis.values, dtype=np.float64)
    values = np.log(values) if axis.log else values
    low, high = (0.0, len(axis.names) - 1.0) if axis.names else (values.min(), values.max())
    return (values - low) / (high - low) if high > low else np.full(len(values), 0.5)


def _ticks(axis: SettingAxis) -> list[tuple[float, str]]:
    """Return the labels of an axis with their positions: every name, or the smallest and the largest number."""
    if axis.names:
        return [(k / max(len(axis.names) - 1, 1) if len(axis.names) > 1 else 0.5, n) for k, n in enumerate(axis.names)]
    low, high = min(axis.values), max(axis.values)
    return [(0.0, f"{low:.3g}"), (1.0, f"{high:.3g}")] if high > low else [(0.5, f"{low:.3g}")]
