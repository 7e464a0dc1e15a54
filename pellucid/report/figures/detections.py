"""Figures of detections: precision and recall, and what was found and missed in a picture."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from pellucid.report.figures.series import colours
from pellucid.report.figures.style import (
    BLUE,
    GREEN,
    ORANGE,
    PALE,
    SMALL,
    End,
    Plot,
    curve_axes,
    label_ends,
    panels,
    pixels,
)

_SIDE = 5.6  # inches of the longer side of a picture
_LINES: dict[str, tuple[str, str]] = {"hit": (GREEN, "-"), "missed": (BLUE, "--"), "ignored": (PALE, "-")}
LEGEND = {"right": (GREEN, "-"), "false alarm": (ORANGE, "-"), "missed": (BLUE, "--"), "not counted": (PALE, "-")}


def precision_recall(curves: Mapping[str, Any], recalls: Any) -> Plot | None:
    """Draw the precision of each class at `recalls`, up to the recall that is reached; None without classes."""
    if not curves:
        return None
    figure, plot = curve_axes("recall", "precision")
    ends = []
    for (name, values), colour in zip(curves.items(), colours(len(curves)), strict=True):
        precision = np.asarray(values, dtype=np.float64)
        reached = max(int((precision > 0).sum()), 1)
        across = np.asarray(recalls)[:reached]
        (line,) = plot.plot(across, precision[:reached], color=colour, linewidth=1.7)
        figure.lines_by_name.append((name, line))
        text = f"{name}, AP {precision.mean():.2f}"
        ends.append(End(float(across[-1]), float(precision[reached - 1]), text, to_hex(colour)))
    plot.set(xlim=(-0.02, 1.02), ylim=(0, 1.03))
    label_ends(plot, ends)
    return figure


class Mark(NamedTuple):
    """A box in a picture: x0, y0, x1, y1 in pixels, what it is ("hit", "missed", "ignored" or an error), a label."""

    box: Sequence[float]
    kind: str
    label: str


def marked(image: Any, marks: Sequence[Mark]) -> Plot:
    """Draw boxes on an image (C, H, W) with values 0..1: green hits, orange false alarms, blue dashed misses."""
    picture = pixels(image)
    height, width = picture.shape[:2]
    scale = _SIDE / max(height, width)
    figure, (plot,) = panels(1, 1, width * scale, height * scale, 0.04, foot=0.3)
    plot.imshow(picture, cmap="gray", vmin=0, vmax=1, extent=(0, width, height, 0), interpolation="nearest")
    for mark in sorted(marks, key=lambda mark: mark.kind != "hit"):
        _draw(plot, mark, height)
    plot.set_xlim(0, width)
    plot.set_ylim(height, 0)
    shown = {_style(mark.kind) for mark in marks}
    x = 0.06 / figure.get_figwidth()
    for name, style in LEGEND.items():
        if style in shown:
            line = "■" if style[1] == "-" else "□"
            figure.text(x, 0.1 / figure.get_figheight(), f"{line} {name}", color=style[0], fontsize=SMALL)
            x += 1.15 / figure.get_figwidth()
    return figure


def _style(kind: str) -> tuple[str, str]:
    return _LINES.get(kind, (ORANGE, "-"))


def _draw(plot: Axes, mark: Mark, height: int) -> None:
    colour, line = _style(mark.kind)
    x0, y0, x1, y1 = mark.box
    plot.add_patch(
        Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=colour, linestyle=line, linewidth=1.3, zorder=3)
    )
    below = mark.kind == "missed"  # so that the label of a detection of the same object stays readable
    outside = y1 < 0.96 * height if below else y0 > 0.04 * height
    plot.text(
        max(x0, 0), min(y1, height) if below else max(y0, 0), mark.label, fontsize=7, color="white",
        va="top" if below == outside else "bottom", clip_on=True, zorder=4,
        bbox={"facecolor": colour, "edgecolor": "none", "pad": 0.8, "alpha": 0.85},
    )  # fmt: skip
