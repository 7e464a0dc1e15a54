"""Figures that compare trainings: curves, one value for each training, and the results of a sweep by setting."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogFormatter, LogLocator, MaxNLocator, NullFormatter

from pellucid.report.figures.curves import draw_column
from pellucid.report.figures.series import name_axes, plots_in_rows
from pellucid.report.figures.style import (
    BLUE,
    DEPTH_COLOUR_MAP,
    FIGURE_WIDTH,
    INK,
    ORANGE,
    PALE,
    SMALL,
    TEXT,
    CurveEnd,
    Plot,
    curve_axes,
    finite_or_nan,
    label_ends,
    light_grid,
    single_plot,
    style_axes,
    truncate,
)

RunRows = Sequence[Mapping[str, Any]]
# Distinguishable for colour-blind readers, on white and on black; after Okabe and Ito 2008.
RUN_COLOURS = ("#1a7fc4", "#009e73", "#b07f00", "#d55e00", "#b5589a", "#4a9fb0", "#808691")


def run_curves(names: Sequence[str], histories: Sequence[RunRows], metric: str) -> Figure | None:
    """Draw val_METRIC of several histories by epoch, and train_METRIC dashed in the same colour.

    Accuracies are in per cent. None if no history has a finite value.
    """
    scale, unit = (100, " %") if metric == "accuracy" else (1, "")
    figure, plot = curve_axes("epoch", metric.replace("_", " "), unit.strip())
    ends: list[CurveEnd] = []
    for k, (name, history) in enumerate(zip(names, histories, strict=True)):
        val_key, train_key = f"val_{metric}", f"train_{metric}"
        rows = [
            {**row, **{key: scale * finite_or_nan(row.get(key)) for key in (val_key, train_key)}} for row in history
        ]
        colour = RUN_COLOURS[k % len(RUN_COLOURS)]
        val_ends = draw_column(figure, rows, val_key, f"{name}, held out", colour, unit=unit)
        train_ends = draw_column(figure, rows, train_key, f"{name}, training", colour, unit=unit, is_dashed=True)
        ends += [end._replace(text=end.text.replace(", held out", "")) for end in val_ends] or train_ends
    label_ends(plot, ends)
    return figure if ends else None


def accuracy_by_time(
    names: Sequence[str], histories: Sequence[RunRows], data_name: str = "validation"
) -> Figure | None:
    """Draw val_accuracy of several histories over the training time in seconds, on a logarithmic axis.

    A dotted line connects the last epoch to the name. data_name: the name of the data of val_accuracy. Epochs
    without a time or an accuracy are left out; None if none remain.
    """
    figure, plot = curve_axes("seconds of training", f"{data_name} accuracy", "%")
    last_points: list[tuple[float, float, str, str]] = []
    for k, (name, rows) in enumerate(zip(names, histories, strict=True)):
        colour, seconds = RUN_COLOURS[k % len(RUN_COLOURS)], 0.0
        points: list[tuple[float, float]] = []
        for row in rows:
            seconds += finite_or_nan(row.get("seconds"))
            value = 100 * finite_or_nan(row.get("val_accuracy"))
            if seconds > 0 and value == value:  # noqa: PLR0124 (NaN)
                points.append((seconds, value))
        if points:
            (line,) = plot.plot(*zip(*points, strict=True), color=colour, linewidth=1.7, marker="o", markersize=2.2)
            figure.lines_by_name.append((name, line))
            last_points.append((*points[-1], name, colour))
    if not last_points:
        return None
    plot.set_xscale("log")
    plot.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    plot.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.4)))  # label minor ticks too if there is room
    plot.tick_params(which="minor", colors=INK, labelsize=SMALL)
    plot.set_ylim(top=100.8)  # a curve at 100 % is not cut off
    right = plot.get_xlim()[1]
    plot.set_xlim(right=right)
    for x, y, _, colour in last_points:  # to the label at the right edge
        plot.plot([x, right], [y, y], color=colour, linewidth=0.8, linestyle=(0, (1, 2)))
    label_ends(plot, [CurveEnd(right, y, f"{name}\n{y:.1f} %", colour) for _, y, name, colour in last_points])
    return figure


class Dot(NamedTuple):
    """One training: its name, its value, the smallest and largest value over seeds, and the value as text."""

    name: str
    value: float
    low: float
    high: float
    text: str


def ranking(title: str, dots: Sequence[Dot], colours: Sequence[str] = (), logarithmic: bool = False) -> Figure | None:
    """Draw one row for each training: a dot at its value, a line over the range of seeds, and its text on the right.

    colours: one for each row, by default blue for all. Non-finite values are not drawn; None if no value is drawn.
    """
    finite_dots = [dot for dot in dots if finite_or_nan(dot.value) == dot.value and (dot.value > 0 or not logarithmic)]
    if not finite_dots:
        return None
    left_margin = 0.2 + 0.073 * max(len(dot.name) for dot in dots)
    figure, plot = single_plot(left_margin + 3.1, 0.62 + 0.3 * len(dots), (left_margin, 0.3, 0.95, 0.32))
    if logarithmic:
        plot.set_xscale("log")
    for row, dot in enumerate(dots):
        if dot not in finite_dots:
            continue
        colour = colours[row] if colours else BLUE
        plot.plot([dot.low, dot.high], [row, row], color=colour, linewidth=2.2, alpha=0.45, solid_capstyle="round")
        (dot_artist,) = plot.plot([dot.value], [row], marker="o", markersize=7, color=colour)
        range_text = "" if dot.low == dot.high else f", from {dot.low:.4g} to {dot.high:.4g}"
        figure.marks.append((dot_artist, f"{dot.name}: {dot.text}{range_text}"))
        plot.annotate(
            dot.text, (1, row), xycoords=("axes fraction", "data"), xytext=(8, 0), textcoords="offset points",
            va="center", color=INK, fontsize=TEXT,
        )  # fmt: skip
    plot.set_yticks(range(len(dots)), [dot.name for dot in dots], fontsize=SMALL)
    plot.tick_params(axis="y", length=0)
    plot.set_ylim(len(dots) - 0.5, -0.5)
    low, high = min(dot.low for dot in finite_dots), max(dot.high for dot in finite_dots)
    if logarithmic:
        plot.set_xlim(low / 1.5, high * 1.5)
        plot.xaxis.set_major_locator(LogLocator(subs=(1.0,) if high > 20 * low else (1.0, 2.0, 5.0)))
        plot.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        plot.xaxis.set_minor_formatter(NullFormatter())
    else:
        plot.xaxis.set_major_locator(MaxNLocator(nbins=5))
        margin = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
        plot.set_xlim(low - margin, high + margin)
    light_grid(plot)
    plot.spines["left"].set_visible(False)
    figure.text(0.01, 1 - 0.06 / figure.get_figheight(), title, color=INK, fontsize=TEXT + 0.5, va="top", weight="bold")
    return figure


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
        return [
            (k / max(len(axis.names) - 1, 1) if len(axis.names) > 1 else 0.5, name) for k, name in enumerate(axis.names)
        ]
    low, high = min(axis.values), max(axis.values)
    return [(0.0, f"{low:.3g}"), (1.0, f"{high:.3g}")] if high > low else [(0.5, f"{low:.3g}")]
