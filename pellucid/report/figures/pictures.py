"""Pictures in rows: the worst mistakes, and the first layer's weights."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pellucid.errors import PellucidError
from pellucid.report.figures.sheet import sheet
from pellucid.report.figures.style import INK, ORANGE, SMALL, picture_axes

WIDE = 7.6  # inches


def worst_mistakes(
    images: Any, true: Sequence[str], predicted: Sequence[str], probability: Sequence[float]
) -> Figure | None:
    """Draw misread images, each with its true class, the class it was taken for, and how sure the network was.

    images: (n, C, H, W) with C of 1 or 3, values 0..1; the three sequences have n entries. What lies outside 0..1
    is no probability and is written as a plain number.
    """
    pictures = np.asarray(images, dtype=np.float64)
    if len(pictures) == 0:
        return None
    _check(pictures, "worst_mistakes")
    wordy = max(map(len, [*true, *predicted])) > 3
    figure, plots = _grid(len(pictures), columns=6 if wordy else 8, below=0.6 if wordy else 0.42)
    for plot, picture, right, said, sure in zip(plots, pictures, true, predicted, probability, strict=True):
        _show(plot, np.clip(picture, 0, 1), cmap="gray", vmin=0, vmax=1)
        lines = [_cut(right), f"→ {_cut(said)}"] if wordy else [f"{right} → {said}"]
        lines.append(_surety(sure))
        for down, line in enumerate(lines):
            plot.annotate(
                line, (0.5, 0), xycoords="axes fraction", xytext=(0, -3 - 12 * down), textcoords="offset points",
                ha="center", va="top", fontsize=SMALL, color=ORANGE if line is lines[-1] else INK,
            )  # fmt: skip
    return figure


def first_weights(weights: Any, most: int = 64) -> Figure | None:
    """Draw the first `most` filters as pictures: blue is negative, orange positive, all on one scale.

    weights: (n, C, H, W). With C = 3 each filter is shown as a colour picture of its own scale, grey being zero;
    with other C the first channel is shown. Filters of a single number make no picture: None.
    """
    filters = np.asarray(weights, dtype=np.float64)
    if filters.ndim != 4:
        raise PellucidError(f"first_weights: weights have shape {filters.shape}; give (filters, C, H, W)")
    if filters.shape[0] == 0 or filters.shape[2] * filters.shape[3] < 4 or not np.isfinite(filters).all():
        return None
    shown = filters[:most]
    columns = 12 if len(shown) > 40 else 10 if len(shown) > 16 else 8
    if filters.shape[1] == 3:
        figure, plots = _grid(len(shown), columns, below=0)
        for plot, one in zip(plots, shown, strict=True):
            reach = float(np.abs(one).max()) or 1.0
            _show(plot, 0.5 + 0.5 * one / reach)
        return figure
    return sheet(shown[:, 0], signed=True, columns=min(columns, len(shown)))


def _grid(count: int, columns: int, below: float) -> tuple[Figure, list[Axes]]:
    """Return `count` square plots in rows, with `below` inches under each."""
    gap = 0.07
    side = (WIDE - gap * (columns + 1)) / columns
    used = min(count, columns)
    rows = math.ceil(count / columns)
    width = gap + used * (side + gap)
    height = gap + rows * (side + below + gap)
    figure = Figure((width, height))
    plots = []
    for k in range(count):
        row, column = divmod(k, columns)
        left, top = gap + column * (side + gap), gap + row * (side + below + gap)
        plots.append(picture_axes(figure, left, height - top - side, side, side))
    return figure, plots


def _show(plot: Axes, picture: Any, **colours: Any) -> None:
    channels, height, width = picture.shape
    image = picture[0] if channels == 1 else np.moveaxis(picture, 0, -1)  # (H, W) or (H, W, 3)
    # small pictures stay raw: each of their numbers is one crisp square at any size
    plot.imshow(image, interpolation="none" if max(height, width) <= 64 else "antialiased", **colours)


def _surety(score: float) -> str:
    if not math.isfinite(score):
        return "no number"
    return f"{100 * score:.0f} %" if 0 <= score <= 1 else f"{score:.2f}"


def _cut(name: str, most: int = 15) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _check(pictures: Any, where: str) -> None:
    if pictures.ndim != 4 or pictures.shape[1] not in (1, 3):
        raise PellucidError(f"{where}: images have shape {pictures.shape}; give (n, 1 or 3, H, W)")
