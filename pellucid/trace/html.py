"""Traces, explanations and nudges as HTML for notebooks: one piece, without scripts, in the page's own colours."""

import math
from typing import NamedTuple

from pellucid.report.page import render
from pellucid.trace.explanation import Explanation
from pellucid.trace.maps import picture
from pellucid.trace.nudge import Nudge
from pellucid.trace.overview import outputs, rows
from pellucid.trace.record import Trace
from pellucid.trace.text import SIGN, TIMES, added, brief, heading, verdict

FEW = 40  # layers that a page shows with sixteen maps each
COLUMNS = ("class", "output", "y", "probability", "target", "dy")  # of an output


class Bar(NamedTuple):
    """A bar from the middle of a cell, in per cent of its width."""

    side: str
    left: float
    width: float


def bar(value: float, reach: float) -> Bar:
    """Return the bar of a value, to the right above 0, to the left below; `reach` fills half of the cell."""
    share = abs(value) / (reach or 1.0)
    width = 50 * min(share, 1.0) if math.isfinite(share) else 0.0
    return Bar("up", 50.0, width) if value >= 0 else Bar("down", 50 - width, width)


def explanation_html(it: Explanation) -> str:
    """Return the number, how it came about, and the links to the loss."""
    return render("explanation", it=it, verdict=verdict(it), brief=brief, bar=bar, added=added, sign=SIGN, times=TIMES)


def trace_html(trace: Trace) -> str:
    """Return each call with its maps forward and backward, and the outputs of the first example."""
    most = 16 if len(trace.calls) <= FEW else 8
    maps = [
        (picture(call.y[0], most), None if call.dys is None else picture(call.dys[0][0], most)) for call in trace.calls
    ]
    found = outputs(trace, 0)
    keys = [name for name in COLUMNS if name in found[0] and not (name == "output" and "class" in found[0])]
    return render(
        "trace",
        heading=heading(trace),
        input=picture(trace.passes.xs[0].tensor[0]),
        calls=list(zip(rows(trace), maps, strict=True)),
        outputs=found[:5],
        keys=keys,
        reach=max(abs(one["dy"]) for one in found),
        most=most,
        brief=brief,
        bar=bar,
    )


def nudge_html(it: Nudge) -> str:
    """Return what was moved, what was predicted, and what happened."""
    return render("nudge", it=it, brief=brief, bar=bar)
