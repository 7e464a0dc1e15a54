"""Figures of detections: precision-recall curves, and hits, false alarms and misses in an image."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import to_hex

from pellucid.report.figures.objects import Marks, mark
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
)

_SIDE = 5.6  # inches of the longer side of an image
_MAX_EXACT = 700  # pixels of the longer side up to which images are not resampled


def precision_recall(curves: Mapping[str, Any], recalls: Any) -> Plot | None:
    """Draw the precision of each class at `recalls`, up to the largest recall; None without classes."""
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


COLOURS = {"right": GREEN, "false alarm": ORANGE, "missed": BLUE, "not counted": PALE}
_KINDS = {"hit": "right", "missed": "missed", "ignored": "not counted"}  # all others are false alarms


def judged(image: Any, boxes: Any, kinds: Sequence[str], texts: Sequence[str]) -> Plot:
    """Draw boxes on an image (1 or 3, H, W) of values 0..1: green hits, orange false alarms, blue dashed misses.

    boxes: (n, 4) in pixels. kinds: "hit", "missed", "ignored", or a kind of error, for each. texts: a label for each.
    """
    scale = _SIDE / max(image.shape[1:])
    figure, (plot,) = panels(1, 1, image.shape[2] * scale, image.shape[1] * scale, 0.04, foot=0.3)
    names = [_KINDS.get(kind, "false alarm") for kind in kinds]
    order = sorted(range(len(names)), key=lambda k: names[k] != "right")  # others are drawn over hits
    mark(
        plot,
        image,
        Marks(
            np.asarray(boxes)[order],
            np.zeros(len(order)),
            dashed=[names[k] == "missed" for k in order],
            texts=[texts[k] for k in order],
            colours=[COLOURS[names[k]] for k in order],
        ),
        1,
    )
    if max(image.shape[1:]) <= _MAX_EXACT:
        plot.images[0].set_interpolation("none")  # the page contains the original pixels
    x = 0.06
    for name, colour in COLOURS.items():
        if name in names:
            square = "□" if name == "missed" else "■"
            at = x / figure.get_figwidth(), 0.1 / figure.get_figheight()
            figure.text(*at, f"{square} {name}", color=colour, fontsize=SMALL)
            x += 1.15
    return figure
