"""Coefficients of linear models: as bars, and by the strength of a penalty."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from pellucid.report.figures.style import (
    BLUE,
    INK,
    ORANGE,
    PALE,
    SMALL,
    TEXT,
    End,
    axes,
    curve_axes,
    cut,
    depth_colours,
    label_ends,
    light_grid,
)

MAX_BARS = 40  # of the largest coefficients
MAX_LABELS = 12


def coefficients(names: Sequence[str], values: Any, title: str = "coefficient") -> Figure:
    """Draw coefficients (n,), or a row for each class (classes, n) as their norm, as bars with the largest first.

    Positive ones are blue, negative ones orange; more than MAX_BARS are left out, the smallest first.
    """
    given = np.asarray(values, dtype=np.float64)
    numbers = np.linalg.norm(given, axis=0) if given.ndim == 2 and len(given) > 1 else given.reshape(-1)
    order: list[int] = np.argsort(-np.abs(numbers), kind="stable")[:MAX_BARS].tolist()
    left = 0.4 + 0.075 * max(len(cut(names[k], 24)) for k in order)
    height = 0.22 * len(order)
    figure, plot = axes(left + 5.4, height + 0.75, (left, 0.55, 0.4, 0.2))
    light_grid(plot)
    places = np.arange(len(order))
    plot.barh(places, numbers[order], color=[BLUE if numbers[k] >= 0 else ORANGE for k in order], height=0.7)
    plot.axvline(0, color=PALE, linewidth=0.8)
    plot.set_yticks(places, [cut(names[k], 24) for k in order], fontsize=SMALL)
    plot.set_ylim(len(order) - 0.4, -0.6)
    left_out = len(numbers) - len(order)
    note = f", the largest {len(order)} of {len(numbers)}" if left_out else ""
    word = "norm of the coefficients over the classes" if given.ndim == 2 and len(given) > 1 else title
    plot.set_xlabel(word + note, color=INK, fontsize=TEXT)
    return figure


def coefficient_paths(names: Sequence[str], alphas: Any, values: Any) -> Figure:
    """Draw coefficients values (fits, n) by the strength of the penalty, alphas (fits,), on a logarithmic axis.

    The largest MAX_LABELS at the smallest alpha are named.
    """
    strengths, numbers = np.asarray(alphas, dtype=np.float64), np.asarray(values, dtype=np.float64)
    figure, plot = curve_axes("alpha", "coefficient")
    if (strengths > 0).all():
        plot.set_xscale("log")
        plot.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        plot.xaxis.set_minor_formatter(NullFormatter())
    plot.invert_xaxis()  # from the strongest penalty, where all are 0, to the weakest
    order: list[int] = np.argsort(-np.abs(numbers[0]), kind="stable").tolist()
    ends = []
    for k, colour in zip(order, depth_colours(len(order)), strict=True):
        (line,) = plot.plot(strengths, numbers[:, k], color=colour, linewidth=1.5)
        figure.lines_by_name.append((names[k], line))
        if len(ends) < MAX_LABELS:
            ends.append(End(strengths[0], numbers[0, k], cut(names[k], 22), colour))
    plot.axhline(0, color=PALE, linewidth=0.8)
    if len(strengths) > 1:
        plot.set_xlim(strengths[-1], strengths[0])
    label_ends(plot, ends)
    return figure
