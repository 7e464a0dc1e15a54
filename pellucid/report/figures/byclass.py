"""Precision and recall, class by class."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pellucid.errors import PellucidError
from pellucid.report.figures.style import BLUE, INK, ORANGE, PALE, SMALL, TEXT, axes


def precision_and_recall(classes: Sequence[str], precision: Any, recall: Any) -> Figure | None:
    """Draw two dots for each class, its precision and its recall, in per cent, and a line from one to the other.

    precision, recall: (K,), 0..1. Raises PellucidError unless there is one of each for every class.
    """
    called, found = (100 * np.asarray(values, dtype=np.float64) for values in (precision, recall))
    size = len(classes)
    if called.shape != (size,) or found.shape != (size,):
        raise PellucidError(
            f"precision_and_recall: shapes {called.shape} and {found.shape} for {size} classes; give one for each"
        )
    if size == 0:
        return None
    names = [name if len(name) <= 16 else f"{name[:15]}…" for name in classes]
    row = 0.27 if size <= 26 else 0.17
    margin = 0.35 + 0.075 * max(map(len, names))
    figure, plot = axes(margin + 3.4, 0.95 + row * size, (margin, 0.55, 0.2, 0.4))
    places = np.arange(size)
    plot.hlines(places, np.minimum(called, found), np.maximum(called, found), color=PALE, linewidth=1.2)
    plot.plot(called, places, linestyle="none", marker="s", markersize=6.5, color=BLUE, label="precision")
    plot.plot(found, places, linestyle="none", marker="o", markersize=4.2, color=ORANGE, label="recall")
    plot.set_yticks(places, names, fontsize=SMALL if size <= 26 else 7)
    plot.tick_params(axis="y", length=0)
    plot.set_ylim(size - 0.5, -0.5)
    low = min(float(np.min([called, found])), 95)
    plot.set_xlim(max(np.floor(low / 5) * 5 - 2, -2), 101.5)
    plot.grid(True, color=PALE, alpha=0.25, linewidth=0.6)
    plot.set_axisbelow(True)
    plot.set_xlabel("per cent", color=INK, fontsize=TEXT)
    plot.legend(
        loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, fontsize=SMALL, labelcolor=INK,
        handletextpad=0.2, borderaxespad=0.1,
    )  # fmt: skip
    return figure
