"""Figures of a classifier's results: confusion matrix, precision and recall, reliability."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from pellucid.errors import PellucidError
from pellucid.report.figures.style import BLUE, GREEN, INK, ORANGE, PALE, SMALL, TEXT, axes, cut, light_grid, plain

MAX_NUMBERED = 26  # classes; with more, numbers in the cells would be too small to read


def confusion_matrix(counts: Any, classes: Sequence[str], normalised: bool = False) -> Figure | None:
    """Draw a confusion matrix counts[true, predicted], (K, K); None if all counts are 0.

    The opacity is the square root of the fraction of the true class; correct predictions are blue. normalised: write
    the fractions, in per cent, instead of counts. Raises PellucidError unless `classes` has K names.
    """
    matrix = np.asarray(counts, dtype=np.int64)
    size = len(classes)
    if matrix.shape != (size, size):
        raise PellucidError(f"confusion_matrix: counts have shape {matrix.shape}, but there are {size} classes")
    if matrix.sum() == 0:
        return None
    names = [cut(name) for name in classes]
    cell = 0.42 if size <= 12 else 0.36 if size <= MAX_NUMBERED else 0.19
    font = SMALL if size <= MAX_NUMBERED else 7.0
    long = max(map(len, names))
    vertical = long > 3 or size > MAX_NUMBERED
    margin = 0.5 + 0.075 * long * font / SMALL
    side = max(cell * size, 1.6)
    below = margin if vertical else 0.55
    figure, plot = axes(margin + side + 0.25, below + side + 0.25, (margin, below, 0.25, 0.25))

    opacity = np.sqrt(matrix / np.maximum(matrix.sum(1, keepdims=True), 1))  # (K, K)
    colours = np.zeros((size, size, 4))
    colours[..., :3] = to_rgb(ORANGE)
    colours[range(size), range(size), :3] = to_rgb(BLUE)
    colours[..., 3] = opacity  # transparent where the count is 0, on any background
    edges = np.arange(size + 1) - 0.5
    plot.pcolormesh(edges, edges, colours, edgecolors="none", rasterized=size > 40)
    plot.set_xlim(-0.5, size - 0.5)
    plot.set_ylim(size - 0.5, -0.5)
    plot.set_xticks(range(size), names, rotation=90 if vertical else 0, fontsize=font)
    plot.set_yticks(range(size), names, fontsize=font)
    plot.tick_params(length=0)
    plot.set_xlabel("predicted", color=INK, fontsize=TEXT)
    plot.set_ylabel("true", color=INK, fontsize=TEXT)
    for spine in plot.spines.values():
        spine.set_visible(True)
        spine.set_color(PALE)
        spine.set_linewidth(0.6)
    figure.cells = classes, matrix
    if size <= MAX_NUMBERED:
        percent = [[f"{100 * part:.0f}" if part >= 0.005 else "<1" for part in row] for row in opacity**2]
        _write(plot, percent if normalised else matrix, opacity, cell)
    return figure


def _write(plot: Any, numbers: Any, opacity: Any, cell: float) -> None:
    """Write the numbers or texts (K, K) into the cells that are not transparent; cell: inches of a cell's side."""
    digits = max(len(str(number)) for row in numbers for number in row)
    font = min(SMALL, cell * 72 * 0.82 / (0.62 * max(digits, 2)))  # a digit is about 0.62 of the type size wide
    for row, column in zip(*np.nonzero(opacity), strict=True):
        plot.text(
            column, row, str(numbers[row][column]), ha="center", va="center", fontsize=font,
            color="white" if opacity[row, column] > 0.6 else INK,
        )  # fmt: skip


def precision_and_recall(classes: Sequence[str], precision: Any, recall: Any) -> Figure | None:
    """Draw the precision and the recall of each class in per cent, as two dots connected by a line.

    precision, recall: (K,), 0..1. Raises PellucidError for other lengths; returns None without classes.
    """
    precise, recalled = (100 * np.asarray(values, dtype=np.float64) for values in (precision, recall))
    size = len(classes)
    if precise.shape != (size,) or recalled.shape != (size,):
        raise PellucidError(
            f"precision_and_recall: shapes {precise.shape} and {recalled.shape} for {size} classes; give one for each"
        )
    if size == 0:
        return None
    names = [cut(name) for name in classes]
    row = 0.27 if size <= 26 else 0.17
    margin = 0.35 + 0.075 * max(map(len, names))
    figure, plot = axes(margin + 3.4, 0.95 + row * size, (margin, 0.55, 0.2, 0.4))
    rows = np.arange(size)
    plot.hlines(rows, np.minimum(precise, recalled), np.maximum(precise, recalled), color=PALE, linewidth=1.2)
    plot.plot(precise, rows, linestyle="none", marker="s", markersize=6.5, color=BLUE, label="precision")
    plot.plot(recalled, rows, linestyle="none", marker="o", markersize=4.2, color=ORANGE, label="recall")
    plot.set_yticks(rows, names, fontsize=SMALL if size <= 26 else 7)
    plot.tick_params(axis="y", length=0)
    plot.set_ylim(size - 0.5, -0.5)
    low = min(float(np.min([precise, recalled])), 95)
    plot.set_xlim(max(np.floor(low / 5) * 5 - 2, -2), 101.5)
    light_grid(plot)
    plot.set_xlabel("per cent", color=INK, fontsize=TEXT)
    plot.legend(
        loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, fontsize=SMALL, labelcolor=INK,
        handletextpad=0.2, borderaxespad=0.1,
    )  # fmt: skip
    return figure


def reliability_diagram(count: Any, confidence: Any, accuracy: Any, error: float) -> Figure | None:
    """Draw the accuracy against the confidence, and below the distribution of the confidence.

    count: number of examples in each bin, (bins,); the bins have equal widths from 0 to 1. confidence, accuracy: means
    in each bin, ignored if it is empty. error: the expected calibration error. A dark line marks the accuracy of a bin;
    the gap between it and the mean confidence is orange where the network is overconfident, green where it is
    underconfident.
    Source: Guo, Pleiss, Sun, Weinberger 2017, figure 1. Raises PellucidError for sequences of different lengths.
    """
    counts, confident, accurate = (np.asarray(values, dtype=np.float64) for values in (count, confidence, accuracy))
    if not counts.shape == confident.shape == accurate.shape or counts.ndim != 1:
        raise PellucidError(
            f"reliability_diagram: count {counts.shape}, confidence {confident.shape} and accuracy {accurate.shape} "
            "differ; give one of each for every bin"
        )
    if counts.sum() == 0:
        return None
    figure, plot = axes(4.3, 4.3, (0.75, 1.45, 0.2, 0.2))
    width, height = figure.get_size_inches()
    below = figure.add_axes((0.75 / width, 0.55 / height, 3.35 / width, 0.7 / height), sharex=plot)
    filled, step = counts > 0, 100 / len(counts)
    centres = (np.arange(len(counts)) + 0.5) * step
    for colour, lower, upper in (
        (ORANGE, accurate, confident),
        (GREEN, confident, accurate),
    ):  # overconfident; underconfident
        base = 100 * lower[filled]
        gap = np.maximum(100 * upper[filled] - base, 0)
        plot.bar(centres[filled], gap, 0.88 * step, bottom=base, color=colour, alpha=0.4, linewidth=0)
    plot.bar(
        centres[filled], 100 * np.minimum(accurate, confident)[filled], 0.88 * step, color=BLUE, alpha=0.8, linewidth=0
    )
    plot.hlines(
        100 * accurate[filled], centres[filled] - 0.44 * step, centres[filled] + 0.44 * step, color=INK, linewidth=1.6
    )
    plot.plot([0, 100], [0, 100], color=PALE, linewidth=1, linestyle=(0, (4, 3)))
    plot.annotate(
        f"ECE {100 * error:.1f} %", (0.04, 0.96), xycoords="axes fraction", va="top", color=INK, fontsize=TEXT + 1
    )
    plot.set_xlim(0, 100)
    plot.set_ylim(0, 104)
    plot.set_ylabel("accuracy (%)", color=INK, fontsize=TEXT)
    plot.tick_params(labelbottom=False)

    below.bar(centres, 100 * counts / counts.sum(), 0.88 * step, color=PALE, linewidth=0)
    below.set_ylim(0, 100)
    below.set_yticks([0, 50, 100])
    below.set_ylabel("images (%)", color=INK, fontsize=SMALL)
    below.set_xlabel("probability of the predicted class (%)", color=INK, fontsize=TEXT)
    plain(below)
    return figure
