"""Whether a network is right as often as it is sure."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pellucid.errors import PellucidError
from pellucid.report.figures.style import BLUE, GREEN, INK, ORANGE, PALE, SMALL, TEXT, axes


def reliability_diagram(count: Any, confidence: Any, accuracy: Any, error: float) -> Figure | None:
    """Draw the share of right answers against how sure the network was, and below how often it was how sure.

    count, confidence, accuracy: (bins,), over bins of equal width from 0 to 1; the two means are not read where a bin
    is empty. error: the expected calibration error. A dark line marks how often a bin was right; the gap between that
    and its mean confidence is orange where the network was too sure, green where it was not sure enough.
    Guo, Pleiss, Sun, Weinberger 2017, figure 1. Raises PellucidError for sequences of different lengths.
    """
    counts, sure, right = (np.asarray(values, dtype=np.float64) for values in (count, confidence, accuracy))
    if not counts.shape == sure.shape == right.shape or counts.ndim != 1:
        raise PellucidError(
            f"reliability_diagram: count {counts.shape}, confidence {sure.shape} and accuracy {right.shape} differ; "
            "give one of each for every bin"
        )
    if counts.sum() == 0:
        return None
    figure, plot = axes(4.3, 4.3, (0.75, 1.45, 0.2, 0.2))
    width, height = figure.get_size_inches()
    below = figure.add_axes((0.75 / width, 0.55 / height, 3.35 / width, 0.7 / height), sharex=plot)
    held, step = counts > 0, 100 / len(counts)
    centres = (np.arange(len(counts)) + 0.5) * step
    for colour, lower, upper in ((ORANGE, right, sure), (GREEN, sure, right)):  # too sure; surer than it knew
        base = 100 * lower[held]
        gap = np.maximum(100 * upper[held] - base, 0)
        plot.bar(centres[held], gap, 0.88 * step, bottom=base, color=colour, alpha=0.4, linewidth=0)
    plot.bar(centres[held], 100 * np.minimum(right, sure)[held], 0.88 * step, color=BLUE, alpha=0.8, linewidth=0)
    plot.hlines(100 * right[held], centres[held] - 0.44 * step, centres[held] + 0.44 * step, color=INK, linewidth=1.6)
    plot.plot([0, 100], [0, 100], color=PALE, linewidth=1, linestyle=(0, (4, 3)))
    plot.annotate(
        f"ECE {100 * error:.1f} %", (0.04, 0.96), xycoords="axes fraction", va="top", color=INK, fontsize=TEXT + 1
    )
    plot.set_xlim(0, 100)
    plot.set_ylim(0, 104)
    plot.set_ylabel("right (%)", color=INK, fontsize=TEXT)
    plot.tick_params(labelbottom=False)

    below.bar(centres, 100 * counts / counts.sum(), 0.88 * step, color=PALE, linewidth=0)
    below.set_facecolor("none")
    below.set_ylim(0, 100)
    below.set_yticks([0, 50, 100])
    below.set_ylabel("images (%)", color=INK, fontsize=SMALL)
    below.set_xlabel("probability of the predicted class (%)", color=INK, fontsize=TEXT)
    below.tick_params(colors=INK, labelsize=SMALL, color=PALE, length=3)
    for side, spine in below.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(PALE)
    return figure
