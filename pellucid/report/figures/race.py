"""Several trainings in one plot."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogFormatter

from pellucid.report.figures.curves import draw
from pellucid.report.figures.style import INK, SMALL, End, curve_axes, finite, label_ends

Rows = Sequence[Mapping[str, Any]]
# Colours that also colour-blind readers tell apart, on white and on black; after Okabe and Ito 2008.
COLOURS = ("#808691", "#1a7fc4", "#009e73", "#b07f00", "#d55e00", "#b5589a", "#4a9fb0")
OF_RUNS = (*COLOURS[1:], COLOURS[0])  # grey is for a baseline


def overlaid(names: Sequence[str], histories: Sequence[Rows], metric: str) -> Figure | None:
    """Draw val_METRIC of several histories by epoch, and train_METRIC dashed in the same colour.

    Accuracies are in per cent. None where no history has a finite value.
    """
    scale, unit = (100, " %") if metric == "accuracy" else (1, "")
    figure, plot = curve_axes("epoch", f"{metric.replace('_', ' ')} (%)" if unit else metric.replace("_", " "))
    ends: list[End] = []
    for k, (name, history) in enumerate(zip(names, histories, strict=True)):
        keys = (f"val_{metric}", f"train_{metric}")
        rows = [{**row, **{key: scale * finite(row.get(key)) for key in keys}} for row in history]
        colour = OF_RUNS[k % len(OF_RUNS)]
        held = draw(figure, rows, keys[0], f"{name}, held out", colour, unit=unit)
        train = draw(figure, rows, keys[1], f"{name}, training", colour, unit=unit, dashed=True)
        ends += [end._replace(text=end.text.replace(", held out", "")) for end in held] or train
    label_ends(plot, ends)
    return figure if ends else None


def accuracy_by_time(
    names: Sequence[str], histories: Sequence[Rows], held: str = "validation", colours: Sequence[str] = COLOURS
) -> Figure | None:
    """Draw val_accuracy of several histories over the seconds that their epochs took, on a logarithmic axis.

    The dots behind the last epoch lead to the name. Epochs without both numbers are left out; None where
    nothing is left.
    """
    figure, plot = curve_axes("seconds of training", f"{held} accuracy (%)")
    last: list[tuple[float, float, str, str]] = []
    for k, (name, rows) in enumerate(zip(names, histories, strict=True)):
        colour, seconds = colours[k % len(colours)], 0.0
        points: list[tuple[float, float]] = []
        for row in rows:
            seconds += finite(row.get("seconds"))
            value = 100 * finite(row.get("val_accuracy"))
            if seconds > 0 and value == value:  # noqa: PLR0124 (NaN)
                points.append((seconds, value))
        if points:
            (line,) = plot.plot(*zip(*points, strict=True), color=colour, linewidth=1.7, marker="o", markersize=2.2)
            figure.lines_by_name.append((name, line))
            last.append((*points[-1], name, colour))
    if not last:
        return None
    plot.set_xscale("log")
    plot.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    plot.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.4)))  # plain numbers too, where there is room
    plot.tick_params(which="minor", colors=INK, labelsize=SMALL)
    plot.set_ylim(top=100.8)
    right = plot.get_xlim()[1]
    plot.set_xlim(right=right)
    for x, y, _, colour in last:  # on to the label, which no line has to cross the others for
        plot.plot([x, right], [y, y], color=colour, linewidth=0.8, linestyle=(0, (1, 2)))
    label_ends(plot, [End(right, y, f"{name}\n{y:.1f} %", colour) for _, y, name, colour in last])
    return figure
