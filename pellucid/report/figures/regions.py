"""The regions of the classes that a classifier predicts on a plane of two features."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure

from pellucid.report.figures.pictures import palette
from pellucid.report.figures.style import BLUE, GREEN, INK, ORANGE, SMALL, TEXT, axes, cut

COLOURS = (BLUE, ORANGE, GREEN)
MARKERS = "os^DvP*X"  # beside the colours, for readers who cannot tell these apart


def regions(
    across: Any, up: Any, found: Any, points: Any, labels: Any, classes: Sequence[str], names: Sequence[str]
) -> Figure:
    """Draw class indices `found` (len(up), len(across)) as areas, and points (n, 2) of class indices `labels` (n,).

    across, up: the coordinates of the areas. classes: their names; names: of the two features.
    """
    colours = [class_colour(k, len(classes)) for k in range(len(classes))]
    figure, plot = axes(6.2, 4.2, (0.7, 0.55, 1.5, 0.2))
    pale = ListedColormap([tuple(0.72 + 0.28 * part for part in to_rgb(colour)) for colour in colours])
    plot.pcolormesh(
        across, up, found, cmap=pale, vmin=-0.5, vmax=len(classes) - 0.5, shading="nearest", rasterized=True
    )
    for k in range(len(classes) - 1):  # a line between each class and the ones after it
        if ((found <= k).any()) and (found > k).any():
            plot.contour(across, up, (found <= k).astype(float), levels=[0.5], colors=INK, linewidths=0.7)
    for k, name in enumerate(classes):
        chosen = np.asarray(labels) == k
        plot.scatter(
            points[chosen, 0], points[chosen, 1], s=22, color=colours[k], marker=MARKERS[k % len(MARKERS)],
            edgecolors="white", linewidths=0.6, label=cut(name),
        )  # fmt: skip
    plot.set_xlim(across[0], across[-1])
    plot.set_ylim(up[0], up[-1])
    plot.set_xlabel(cut(names[0], 40), color=INK, fontsize=TEXT)
    plot.set_ylabel(cut(names[1], 40), color=INK, fontsize=TEXT)
    plot.legend(frameon=False, fontsize=SMALL, loc="upper left", bbox_to_anchor=(1.02, 1.0), labelcolor=INK)
    return figure


def class_colour(index: int, count: int) -> Any:
    """Return the colour of a class: the three of the style, or for more classes one of a palette."""
    return COLOURS[index] if count <= len(COLOURS) else tuple(palette(count)[index] / 255)
