"""Which class was taken for which."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from pellucid.errors import PellucidError
from pellucid.report.figures.style import BLUE, INK, ORANGE, PALE, SMALL, TEXT, axes

COUNTED = 26  # with more classes than this, the numbers would not be readable


def confusion_matrix(counts: Any, classes: Sequence[str], normalised: bool = False) -> Figure | None:
    """Draw counts[true, predicted]; colour is the share of the true class, by square root, blue where right.

    counts is (K, K). normalised: write what share of the true class, in per cent, was called so, not how many.
    Raises PellucidError when `classes` does not name K classes.
    """
    matrix = np.asarray(counts, dtype=np.int64)
    size = len(classes)
    if matrix.shape != (size, size):
        raise PellucidError(f"confusion_matrix: counts have shape {matrix.shape}, but there are {size} classes")
    if matrix.sum() == 0:
        return None
    names = [name if len(name) <= 16 else f"{name[:15]}…" for name in classes]
    cell = 0.42 if size <= 12 else 0.36 if size <= COUNTED else 0.19
    font = SMALL if size <= COUNTED else 7.0
    long = max(map(len, names))
    turned = long > 3 or size > COUNTED
    margin = 0.5 + 0.075 * long * font / SMALL
    side = max(cell * size, 1.6)
    below = margin if turned else 0.55
    figure, plot = axes(margin + side + 0.25, below + side + 0.25, (margin, below, 0.25, 0.25))

    share = np.sqrt(matrix / np.maximum(matrix.sum(1, keepdims=True), 1))  # (K, K)
    colours = np.zeros((size, size, 4))
    colours[..., :3] = to_rgb(ORANGE)
    colours[range(size), range(size), :3] = to_rgb(BLUE)
    colours[..., 3] = share  # no colour at all where nothing was counted, on any background
    edges = np.arange(size + 1) - 0.5
    plot.pcolormesh(edges, edges, colours, edgecolors="none", rasterized=size > 40)
    plot.set_xlim(-0.5, size - 0.5)
    plot.set_ylim(size - 0.5, -0.5)
    plot.set_xticks(range(size), names, rotation=90 if turned else 0, fontsize=font)
    plot.set_yticks(range(size), names, fontsize=font)
    plot.tick_params(length=0)
    plot.set_xlabel("predicted", color=INK, fontsize=TEXT)
    plot.set_ylabel("true", color=INK, fontsize=TEXT)
    for spine in plot.spines.values():
        spine.set_visible(True)
        spine.set_color(PALE)
        spine.set_linewidth(0.6)
    figure.cells = classes, matrix
    if size <= COUNTED:
        _write(plot, [[_percent(one) for one in row] for row in share**2] if normalised else matrix, share, cell)
    return figure


def _percent(share: float) -> str:
    return f"{100 * share:.0f}" if share >= 0.005 else "<1"


def _write(plot: Any, numbers: Any, share: Any, cell: float) -> None:
    digits = max(len(str(number)) for row in numbers for number in row)
    font = min(SMALL, cell * 72 * 0.82 / (0.62 * max(digits, 2)))  # a digit is about 0.62 of the type size wide
    for row, column in zip(*np.nonzero(share), strict=True):
        plot.text(
            column, row, str(numbers[row][column]), ha="center", va="center", fontsize=font,
            color="white" if share[row, column] > 0.6 else INK,
        )  # fmt: skip
