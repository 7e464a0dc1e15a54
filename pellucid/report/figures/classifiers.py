"""Classifiers side by side: the accuracy of each, and its time to fit and to predict."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from pellucid.report.figures.style import (
    BLUE,
    FIGURE_WIDTH,
    GREEN,
    INK,
    ORANGE,
    PALE,
    SMALL,
    TEXT,
    Plot,
    light_grid,
    style_axes,
)

# inches: height of a row; margins above, below and on the left; width of a plot; space between the two plots
ROW_HEIGHT, TOP_MARGIN, BOTTOM_MARGIN, LEFT_MARGIN, PLOT_WIDTH, GAP = 0.3, 0.45, 0.55, 1.75, 2.65, 0.35


def classifiers(
    names: Sequence[str], accuracy: Sequence[float], fit_seconds: Sequence[float], predict_seconds: Sequence[float]
) -> Figure:
    """Draw a row for each classifier: accuracy (0 to 1) on the left, logarithmic times in seconds on the right."""
    height = TOP_MARGIN + BOTTOM_MARGIN + ROW_HEIGHT * len(names)
    figure = Plot((FIGURE_WIDTH, height))
    rows = range(len(names))
    plots = []
    for k in range(2):
        bounds = (
            (LEFT_MARGIN + k * (PLOT_WIDTH + GAP)) / FIGURE_WIDTH,
            BOTTOM_MARGIN / height,
            PLOT_WIDTH / FIGURE_WIDTH,
            ROW_HEIGHT * len(names) / height,
        )
        plot = figure.add_axes(bounds)
        style_axes(plot)
        light_grid(plot)
        plot.set_ylim(len(names) - 0.5, -0.5)
        plot.set_yticks(rows, names if k == 0 else [""] * len(names))
        plot.tick_params(axis="y", length=0, labelsize=TEXT)
        plots.append(plot)
    accuracy_plot, time_plot = plots
    values = [100 * value for value in accuracy]
    accuracy_plot.set_xlim(min(values) - 0.08 * (100 - min(values)) - 0.3, 100)
    accuracy_plot.hlines(rows, accuracy_plot.get_xlim()[0], values, color=PALE, linewidth=0.8)
    accuracy_plot.plot(values, rows, "o", color=BLUE, markersize=5, clip_on=False)
    for row, value in zip(rows, values, strict=True):
        accuracy_plot.annotate(
            f"{value:.1f}", (value, row), (0, 5), textcoords="offset points", ha="center", fontsize=SMALL, color=INK
        )
    accuracy_plot.set_xlabel("accuracy on the test images (%)", color=INK, fontsize=TEXT)
    time_plot.set_xscale("log")
    for times, colour, label in ((fit_seconds, ORANGE, "fit"), (predict_seconds, GREEN, "predict")):
        time_plot.plot([max(time, 1e-3) for time in times], rows, "o", color=colour, markersize=5, label=label)
    time_plot.xaxis.set_major_locator(LogLocator(numticks=6))
    time_plot.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    time_plot.xaxis.set_minor_formatter(NullFormatter())
    time_plot.set_xlabel("seconds", color=INK, fontsize=TEXT)
    time_plot.legend(
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=2,
        frameon=False,
        fontsize=SMALL,
        labelcolor=INK,
        handletextpad=0.1,
    )
    return figure
