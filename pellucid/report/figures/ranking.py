"""One number of several trainings, side by side."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from pellucid.report.figures.style import BLUE, INK, PALE, SMALL, TEXT, axes, finite


class Dot(NamedTuple):
    """A training: its name, its number, the least and the most over several seeds, and the number as text."""

    name: str
    value: float
    low: float
    high: float
    text: str


def ranking(title: str, dots: Sequence[Dot], colours: Sequence[str] = (), logarithmic: bool = False) -> Figure | None:
    """Draw one row for each training: a dot at its number, a line over the seeds, and the number behind.

    colours: of the rows, by default all alike. Numbers that are not finite are not drawn; None where none is.
    """
    known = [dot for dot in dots if finite(dot.value) == dot.value and (dot.value > 0 or not logarithmic)]
    if not known:
        return None
    wide = 0.2 + 0.073 * max(len(dot.name) for dot in dots)
    figure, plot = axes(wide + 3.1, 0.62 + 0.3 * len(dots), (wide, 0.3, 0.95, 0.32))
    if logarithmic:
        plot.set_xscale("log")
    for row, dot in enumerate(dots):
        if dot not in known:
            continue
        colour = colours[row] if colours else BLUE
        plot.plot([dot.low, dot.high], [row, row], color=colour, linewidth=2.2, alpha=0.45, solid_capstyle="round")
        plot.plot([dot.value], [row], marker="o", markersize=7, color=colour)
        plot.annotate(
            dot.text, (1, row), xycoords=("axes fraction", "data"), xytext=(8, 0), textcoords="offset points",
            va="center", color=INK, fontsize=TEXT,
        )  # fmt: skip
    plot.set_yticks(range(len(dots)), [dot.name for dot in dots], fontsize=SMALL)
    plot.tick_params(axis="y", length=0)
    plot.set_ylim(len(dots) - 0.5, -0.5)
    low, high = min(dot.low for dot in known), max(dot.high for dot in known)
    if logarithmic:
        plot.set_xlim(low / 1.5, high * 1.5)
        plot.xaxis.set_major_locator(LogLocator(subs=(1.0,) if high > 20 * low else (1.0, 2.0, 5.0)))
        plot.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        plot.xaxis.set_minor_formatter(NullFormatter())
    else:
        plot.xaxis.set_major_locator(MaxNLocator(nbins=5))
        room = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
        plot.set_xlim(low - room, high + room)
    plot.grid(True, color=PALE, alpha=0.25, linewidth=0.6)
    plot.set_axisbelow(True)
    plot.spines["left"].set_visible(False)
    figure.text(0.01, 1 - 0.06 / figure.get_figheight(), title, color=INK, fontsize=TEXT + 0.5, va="top", weight="bold")
    return figure
