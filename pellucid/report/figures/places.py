"""Occlusion as in Zeiler and Fergus: the score, and what the network sees, for each place of the square."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from pellucid.report.figures.colours import SEQUENTIAL
from pellucid.report.figures.heat import bar
from pellucid.report.figures.style import INK, SMALL, TEXT, picture_axes

SIDE, GAP, BAR, TOP = 2.6, 0.15, 0.85, 0.35  # inches
NAMED = 8  # classes in the legend


def places(score: Any, predicted: Any, classes: Sequence[str], title: str = "score") -> Figure:
    """Draw scores (h, w) and predicted classes (h, w) side by side, one square of the picture for each place.

    The legend names the most frequent classes; the rest, if any, is grey.
    Source: Zeiler and Fergus 2014, figure 7 d, e.
    """
    numbers, seen = np.asarray(score, dtype=np.float64), np.asarray(predicted)
    height = SIDE * numbers.shape[0] / numbers.shape[1]
    size = (2 * SIDE + 3 * GAP + BAR + 1.2, TOP + height + GAP)
    figure = Figure(size)
    lefts = (GAP, 2 * GAP + SIDE + BAR)
    plots = [picture_axes(figure, at, GAP, SIDE, height) for at in lefts]
    low, high = float(numbers.min()), float(numbers.max())
    norm = Normalize(min(low, 0.0), high if high > min(low, 0.0) else low + 1)
    shown = plots[0].imshow(numbers, norm=norm, cmap=SEQUENTIAL, interpolation="none")
    bar(figure, shown, (SIDE + GAP + 0.06, GAP, 0.1, height))
    known, counts = np.unique(seen, return_counts=True)
    frequent = sorted(known[np.argsort(-counts, kind="stable")][:NAMED].tolist())
    others = len(frequent) < len(known)
    colours = [SEQUENTIAL(k / max(len(frequent) - 1, 1)) for k in range(len(frequent))] + [(0.6, 0.6, 0.6, 1.0)]
    rank = {one: k for k, one in enumerate(frequent)}
    index = np.vectorize(lambda one: rank.get(one, len(frequent)), otypes=[int])(seen)
    plots[1].imshow(index, cmap=ListedColormap(colours), vmin=-0.5, vmax=len(frequent) + 0.5, interpolation="none")
    names = [classes[one] for one in frequent] + (["others"] if others else [])
    patches = [Patch(color=colours[k], label=name) for k, name in enumerate(names)]
    plots[1].legend(
        handles=patches, loc="upper left", bbox_to_anchor=(1.01, 1.02), fontsize=SMALL, frameon=False, labelcolor=INK
    )
    for plot, words in zip(plots, (title, "what the model sees"), strict=True):
        plot.set_title(words, fontsize=TEXT, color=INK, pad=4)
    return figure
