"""Classifiers side by side: the accuracy of each, and its time to fit and to predict."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from pellucid.report.figures.style import BLUE, GREEN, INK, ORANGE, PALE, SMALL, TEXT, WIDE, Plot, light_grid, plain

# inches: height of a row; margins above, below and on the left; width of a plot; space between the two plots
ROW, TOP, BOTTOM, LEFT, PANEL, GAP = 0.3, 0.45, 0.55, 1.75, 2.65, 0.35


def classifiers(
    names: Sequence[str], accuracy: Sequence[float], fit: Sequence[float], predict: Sequence[float]
) -> Figure:
    """Draw a row for each classifier: accuracy (0 to 1) on the left, times in seconds, logarithmic, on the right."""
    height = TOP + BOTTOM + ROW * len(names)
    figure = Plot((WIDE, height))
    rows = range(len(names))
    plots = []
    for k in range(2):
        bounds = (LEFT + k * (PANEL + GAP)) / WIDE, BOTTOM / height, PANEL / WIDE, ROW * len(names) / height
        plot = figure.add_axes(bounds)
        plain(plot)
        light_grid(plot)
        plot.set_ylim(len(names) - 0.5, -0.5)
        plot.set_yticks(rows, names if k == 0 else [""] * len(names))
        plot.tick_params(axis="y", length=0, labelsize=TEXT)
        plots.append(plot)
    left, right = plots
    values = [100 * value for value in accuracy]
    left.set_xlim(min(values) - 0.08 * (100 - min(values)) - 0.3, 100)
    left.hlines(rows, left.get_xlim()[0], values, color=PALE, linewidth=0.8)
    left.plot(values, rows, "o", color=BLUE, markersize=5, clip_on=False)
    for row, value in zip(rows, values, strict=True):
        left.annotate(
            f"{value:.1f}", (value, row), (0, 5), textcoords="offset points", ha="center", fontsize=SMALL, color=INK
        )
    left.set_xlabel("accuracy on the test images (%)", color=INK, fontsize=TEXT)
    right.set_xscale("log")
    for times, colour, label in ((fit, ORANGE, "fit"), (predict, GREEN, "predict")):
        right.plot([max(time, 1e-3) for time in times], rows, "o", color=colour, markersize=5, label=label)
    right.xaxis.set_major_locator(LogLocator(numticks=6))
    right.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    right.xaxis.set_minor_formatter(NullFormatter())
    right.set_xlabel("seconds", color=INK, fontsize=TEXT)
    right.legend(
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=2,
        frameon=False,
        fontsize=SMALL,
        labelcolor=INK,
        handletextpad=0.1,
    )
    return figure
