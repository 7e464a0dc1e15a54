"""Figures that compare trainings: curves, and one value for each training."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogFormatter, LogLocator, MaxNLocator, NullFormatter

from pellucid.report.figures.curves import draw_column
from pellucid.report.figures.style import (
    BLUE,
    INK,
    SMALL,
    TEXT,
    CurveEnd,
    curve_axes,
    finite_or_nan,
    label_ends,
    light_grid,
    single_plot,
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
        keys = (f"val_{metric}", f"train_{metric}")
        rows = [{**row, **{key: scale * finite_or_nan(row.get(key)) for key in keys}} for row in history]
        colour = RUN_COLOURS[k % len(RUN_COLOURS)]
        validation = draw_column(figure, rows, keys[0], f"{name}, held out", colour, unit=unit)
        train = draw_column(figure, rows, keys[1], f"{name}, training", colour, unit=unit, dashed=True)
        ends += [end._replace(text=end.text.replace(", held out", "")) for end in validation] or train
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
    plot.set_ylim(top=100.8)
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
        plot.plot([dot.value], [row], marker="o", markersize=7, color=colour)
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
