"""Contact sheets: many small maps or filters on one page, on one scale."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pellucid.errors import PellucidError
from pellucid.report.figures.colours import scale
from pellucid.report.figures.heat import bar
from pellucid.report.figures.style import INK, SMALL, TEXT, picture_axes

WIDE = 7.6  # inches
GAP, BAR, TOP, NAME = 0.06, 0.8, 0.32, 0.16


def sheet(
    maps: Any,
    title: str = "",
    names: Sequence[str] = (),
    signed: bool | None = None,
    each: bool = False,
    most: int = 64,
    columns: int | None = None,
    largest: float = 1.3,
) -> Figure:
    """Draw the first `most` of maps (n, H, W) in rows, with one colour bar.

    names: one for each, written above it. signed: whether 0 lies in the middle of the colours, by default where any
    number is below 0. each: give each map its own scale, from its least to its largest number, so that the bar runs
    from 0 to 1, or from -1. largest: the most inches for one map.
    Raises PellucidError where there is nothing to draw, or numbers that are not finite.
    """
    numbers = np.asarray(maps, dtype=np.float64)
    if numbers.ndim != 3 or not numbers.size or not np.isfinite(numbers).all():
        raise PellucidError(f"a sheet shows finite numbers (maps, H, W), not {numbers.shape} with NaN or infinity")
    shown = numbers[:most]
    across = columns or min(len(shown), max(1, math.ceil(math.sqrt(2 * len(shown)))))
    side = min(largest, (WIDE - BAR - GAP * (across + 1)) / across)
    height = side * shown.shape[1] / shown.shape[2]
    name = NAME if names else 0.0
    rows = math.ceil(len(shown) / across)
    left_out = f"{title}, {most} of {len(numbers)}" if len(numbers) > most else title
    size = (
        max(across * (side + GAP) + GAP + BAR, 0.085 * len(left_out) + 2 * GAP),
        TOP + rows * (height + name + GAP) + GAP,
    )
    figure = Figure(size)
    signed = bool((shown < 0).any()) if signed is None else signed
    last = None
    for k, one in enumerate(shown):
        row, column = divmod(k, across)
        norm, colours = scale(_unit(one, signed) if each else shown, signed)
        bottom = size[1] - TOP - (row + 1) * (height + name + GAP) + GAP
        plot = picture_axes(figure, GAP + column * (side + GAP), bottom, side, height)
        last = plot.imshow(_unit(one, signed) if each else one, norm=norm, cmap=colours, interpolation="none")
        if names:
            plot.set_title(names[k], fontsize=SMALL - 1.5, color=INK, pad=2)
    assert last is not None
    bar(figure, last, (across * (side + GAP) + GAP + 0.04, GAP, 0.1, size[1] - TOP - GAP))
    figure.text(GAP / size[0], 1 - 0.06 / size[1], left_out, fontsize=TEXT, color=INK, va="top")
    return figure


def filters(weight: Any, title: str = "", most: int = 16) -> Figure:
    """Draw the first `most` filters (filters, C, h, w): a row for each, with one column for each of its C planes."""
    numbers = np.asarray(weight, dtype=np.float64)
    if numbers.ndim != 4:
        raise PellucidError(f"filters have the shape (filters, C, h, w), not {numbers.shape}")
    planes = numbers.shape[1]
    if planes == 1:
        return sheet(numbers[:, 0], title, signed=True, most=64, largest=0.7)
    across = min(planes, 16)
    shown = numbers[:most, :across].reshape(-1, *numbers.shape[2:])
    parts = "" if across == planes else f", {across} of {planes} planes each"
    count = "" if most >= len(numbers) else f", {most} of {len(numbers)} filters"
    return sheet(shown, f"{title}{count}{parts}", signed=True, most=len(shown), columns=across, largest=0.4)


def _unit(one: Any, signed: bool) -> Any:
    """Return a map scaled to -1..1 about 0, or to 0..1."""
    if signed:
        return one / (np.abs(one).max() or 1.0)
    low, high = one.min(), one.max()
    return (one - low) / ((high - low) or 1.0)
