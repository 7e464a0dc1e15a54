"""Maps over the epochs of a training: their strongest reconstructions in rows, and their means as curves."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pellucid.explain.evolution import Evolution
from pellucid.explain.pictures.patches import scale_of
from pellucid.report.figures.style import DEPTH, INK, PALE, SMALL, End, curve_axes, label_ends, picture_axes

SIDE, GAP, NAME, LEFT = 0.62, 0.05, 0.22, 0.55  # inches
COLUMNS = 10  # epochs, at most


def growth(found: Evolution) -> Figure:
    """Draw a row for each map and a column for each epoch: the strongest activation, sent back to the pixels.

    Each picture shows the unit's receptive field on its own scale, 0 in mid-grey. Of many epochs, evenly chosen ones.
    Source: Zeiler and Fergus 2014, figure 4.
    """
    columns = np.unique(np.linspace(0, len(found.epochs) - 1, COLUMNS).round().astype(int)).tolist()
    size = (LEFT + len(columns) * (SIDE + GAP) + GAP, NAME + len(found.maps) * (SIDE + GAP) + GAP)
    figure = Figure(size)
    for row, (number, tops) in enumerate(zip(found.maps, found.strongest, strict=True)):
        bottom = size[1] - NAME - (row + 1) * (SIDE + GAP)
        for column, k in enumerate(columns):
            plot = picture_axes(figure, LEFT + column * (SIDE + GAP), bottom, SIDE, SIDE)
            plot.imshow(_patch(tops[k]), cmap="gray", vmin=0, vmax=1, interpolation="none")
            if row == 0:
                name = f"epoch {found.epochs[k]}" if column == 0 else str(found.epochs[k])
                plot.set_title(name, fontsize=SMALL - 1, color=INK, pad=3)
        middle = (bottom + SIDE / 2) / size[1]
        figure.text(0.45 * LEFT / size[0], middle, str(number), fontsize=SMALL, color=INK, va="center", ha="center")
    return figure


def means(found: Evolution) -> Figure:
    """Draw the mean activation of the same maps over the epochs, and the largest of all maps of the layer."""
    figure, plot = curve_axes("epoch", "mean activation")
    ends: list[End] = []
    for k, number in enumerate(found.maps):
        colour = DEPTH(k / max(len(found.maps) - 1, 1))
        values = found.means[:, number].tolist()
        (line,) = plot.plot(found.epochs, values, color=colour, linewidth=1.3)
        figure.lines_by_name.append((f"map {number}", line))
        ends.append(End(found.epochs[-1], values[-1], f"map {number}", _hex(colour)))
    largest = found.means.amax(1).tolist()
    plot.plot(found.epochs, largest, color=PALE, linewidth=1.2, linestyle=(0, (4, 2)), label="the largest of all maps")
    plot.legend(frameon=False, fontsize=SMALL, labelcolor=INK, loc="best")
    plot.xaxis.set_major_locator(MaxNLocator(integer=True))
    label_ends(plot, ends)
    return figure


def _hex(colour: Any) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in colour[:3])


def _patch(top: Any) -> Any:
    """Return the receptive field of a reconstruction, (h, w) or (h, w, 3), values 0..1."""
    first, left, bottom, right = top.corners[0].tolist()
    part = top.deconvolution[0].double().cpu().numpy()[:, first:bottom, left:right]
    part = np.clip(0.5 + 0.5 * part / scale_of(part), 0, 1)
    return part[0] if len(part) == 1 else np.moveaxis(part, 0, -1)
