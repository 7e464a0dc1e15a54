"""Figures of a classifier's results: confusion matrix and reliability."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from pellucid.base.errors import PellucidError
from pellucid.report.figures.style import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PALE,
    SMALL,
    TEXT,
    single_plot,
    style_axes,
    truncate,
)

SCALE_MARGIN = 0.85  # inches right of the matrix, for its scale
MAX_CLASSES_WITH_COUNTS = 26  # classes; with more, numbers in the cells would be too small to read


def confusion_matrix(counts: Any, classes: Sequence[str], normalised: bool = False) -> Figure | None:
    """Draw a confusion matrix counts[true, predicted], (K, K); None if all counts are 0.

    The opacity is the square root of the count's fraction of the true class, which a scale beside the matrix shows;
    correct predictions are blue. normalised:
    write the fractions, in per cent, instead of counts. Raises PellucidError unless `classes` has K names.
    """
    matrix = np.asarray(counts, dtype=np.int64)
    n_classes = len(classes)
    if matrix.shape != (n_classes, n_classes):
        raise PellucidError(f"confusion_matrix: counts have shape {matrix.shape}, but there are {n_classes} classes")
    if matrix.sum() == 0:
        return None
    names = [truncate(name) for name in classes]
    # Sizes are in inches; 0.075 is the mean width of a character of the font size SMALL.
    cell_side = 0.42 if n_classes <= 12 else 0.36 if n_classes <= MAX_CLASSES_WITH_COUNTS else 0.19
    font_size = SMALL if n_classes <= MAX_CLASSES_WITH_COUNTS else 7.0
    longest_name = max(map(len, names))
    are_names_vertical = longest_name > 3 or n_classes > MAX_CLASSES_WITH_COUNTS
    name_margin = 0.5 + 0.075 * longest_name * font_size / SMALL
    side = max(cell_side * n_classes, 1.6)
    bottom_margin = name_margin if are_names_vertical else 0.55
    size = (name_margin + side + SCALE_MARGIN, bottom_margin + side + 0.25)
    figure, plot = single_plot(*size, (name_margin, bottom_margin, SCALE_MARGIN, 0.25))

    opacity = np.sqrt(matrix / np.maximum(matrix.sum(1, keepdims=True), 1))  # (K, K)
    colours = np.zeros((n_classes, n_classes, 4))
    colours[..., :3] = to_rgb(ORANGE)
    colours[range(n_classes), range(n_classes), :3] = to_rgb(BLUE)
    colours[..., 3] = opacity  # transparent where the count is 0, on any background
    edges = np.arange(n_classes + 1) - 0.5
    plot.pcolormesh(edges, edges, colours, edgecolors="none", rasterized=n_classes > 40)
    plot.set_xlim(-0.5, n_classes - 0.5)
    plot.set_ylim(n_classes - 0.5, -0.5)
    plot.set_xticks(range(n_classes), names, rotation=90 if are_names_vertical else 0, fontsize=font_size)
    plot.set_yticks(range(n_classes), names, fontsize=font_size)
    plot.tick_params(length=0)
    plot.set_xlabel("predicted", color=INK, fontsize=TEXT)
    plot.set_ylabel("true", color=INK, fontsize=TEXT)
    for spine in plot.spines.values():
        spine.set_visible(True)
        spine.set_color(PALE)
        spine.set_linewidth(0.6)
    _draw_scale(figure, name_margin + side, bottom_margin, side)
    figure.confusion = classes, matrix
    if n_classes <= MAX_CLASSES_WITH_COUNTS:
        percent = [[f"{100 * fraction:.0f}" if fraction >= 0.005 else "<1" for fraction in row] for row in opacity**2]
        _write_counts(plot, percent if normalised else matrix, opacity, cell_side)
    return figure


def _draw_scale(figure: Figure, left: float, bottom: float, height: float) -> None:
    """Draw the colours by the fraction of the true class, correct and wrong; the position is in inches."""
    width, total_height = figure.get_size_inches()
    scale_height = min(height, 1.6)
    scale = figure.add_axes(
        (
            (left + 0.15) / width,
            (bottom + height - scale_height) / total_height,
            0.2 / width,
            scale_height / total_height,
        )
    )
    style_axes(scale)
    colours = np.zeros((64, 2, 4))  # (levels, correct and wrong, RGBA)
    colours[:, 0, :3] = to_rgb(BLUE)
    colours[:, 1, :3] = to_rgb(ORANGE)
    colours[..., 3] = np.sqrt(np.linspace(0, 1, 64))[:, None]
    scale.imshow(colours, origin="lower", aspect="auto", extent=(0, 2, 0, 100))
    scale.set_xticks([])
    scale.yaxis.tick_right()
    scale.set_yticks([0, 10, 25, 50, 100], ["0", "10", "25", "50", "100 %"])
    scale.tick_params(length=0)
    for spine in scale.spines.values():
        spine.set_visible(False)


def _write_counts(plot: Any, numbers: Any, opacity: Any, cell_side: float) -> None:
    """Write the numbers or texts (K, K) into the cells that are not transparent; cell_side: in inches."""
    digits = max(len(str(number)) for row in numbers for number in row)
    # A digit is about 0.62 of the font size wide.
    font_size = min(SMALL, cell_side * 72 * 0.82 / (0.62 * max(digits, 2)))
    for row, column in zip(*np.nonzero(opacity), strict=True):
        plot.text(
            column, row, str(numbers[row][column]), ha="center", va="center", fontsize=font_size,
            color="white" if opacity[row, column] > 0.6 else INK,
        )  # fmt: skip


def reliability_diagram(count: Any, confidence: Any, accuracy: Any, error: float) -> Figure | None:
    """Draw the accuracy against the confidence, and the distribution of the confidence below.

    count: number of examples in each bin, (bins,); the bins have equal widths from 0 to 1. confidence, accuracy: means
    in each bin, ignored if it is empty. error: the expected calibration error. A dark line marks the accuracy of a bin;
    the gap between it and the mean confidence is orange where the network is overconfident, green where it is
    underconfident.
    Source: Guo, Pleiss, Sun, Weinberger 2017, figure 1. Raises PellucidError for sequences of different lengths.
    """
    counts, confidences, accuracies = (np.asarray(values, dtype=np.float64) for values in (count, confidence, accuracy))
    if not counts.shape == confidences.shape == accuracies.shape or counts.ndim != 1:
        raise PellucidError(
            f"reliability_diagram: count {counts.shape}, confidence {confidences.shape} and accuracy "
            f"{accuracies.shape} differ; give one of each for every bin"
        )
    if counts.sum() == 0:
        return None
    figure, plot = single_plot(4.3, 4.3, (0.75, 1.45, 0.2, 0.2))
    width, height = figure.get_size_inches()
    histogram = figure.add_axes((0.75 / width, 0.55 / height, 3.35 / width, 0.7 / height), sharex=plot)
    has_images, bin_width = counts > 0, 100 / len(counts)
    centres = (np.arange(len(counts)) + 0.5) * bin_width
    for colour, lower, upper in (
        (ORANGE, accuracies, confidences),
        (GREEN, confidences, accuracies),
    ):  # overconfident; underconfident
        bar_bottom = 100 * lower[has_images]
        gap = np.maximum(100 * upper[has_images] - bar_bottom, 0)
        plot.bar(centres[has_images], gap, 0.88 * bin_width, bottom=bar_bottom, color=colour, alpha=0.4, linewidth=0)
    accuracy_bars = plot.bar(
        centres[has_images],
        100 * np.minimum(accuracies, confidences)[has_images],
        0.88 * bin_width,
        color=BLUE,
        alpha=0.8,
        linewidth=0,
    )
    plot.hlines(
        100 * accuracies[has_images],
        centres[has_images] - 0.44 * bin_width,
        centres[has_images] + 0.44 * bin_width,
        color=INK,
        linewidth=1.6,
    )
    plot.plot([0, 100], [0, 100], color=PALE, linewidth=1, linestyle=(0, (4, 3)))
    plot.annotate(
        f"ECE {100 * error:.1f} %", (0.04, 0.96), xycoords="axes fraction", va="top", color=INK, fontsize=TEXT + 1
    )
    plot.set_xlim(0, 100)
    plot.set_ylim(0, 104)
    plot.set_ylabel("accuracy (%)", color=INK, fontsize=TEXT)
    plot.tick_params(labelbottom=False)

    bars = histogram.bar(centres, 100 * counts / counts.sum(), 0.88 * bin_width, color=PALE, linewidth=0)
    histogram.set_ylim(0, 100)
    histogram.set_yticks([0, 50, 100])
    histogram.set_ylabel("images (%)", color=INK, fontsize=SMALL)
    histogram.set_xlabel("probability of the predicted class (%)", color=INK, fontsize=TEXT)
    style_axes(histogram)
    texts = [
        f"{n_images:,.0f} images, mean probability {100 * mean_confidence:.1f} %, accuracy {100 * bin_accuracy:.1f} %"
        for n_images, mean_confidence, bin_accuracy in zip(
            counts[has_images], confidences[has_images], accuracies[has_images], strict=True
        )
    ]
    filled_bars = [bar for bar, is_filled in zip(bars, has_images, strict=True) if is_filled]
    figure.marks += [*zip(accuracy_bars, texts, strict=True), *zip(filled_bars, texts, strict=True)]
    return figure
