"""docs/quality.md, written from the points in docs/quality.json."""

import statistics
from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

from benchmarks.quality.sets import SETS
from benchmarks.results import ROOT, machine

PAGE = ROOT / "docs/quality.md"
MINUTES, SEEDS = (1, 10), (0, 1, 2)
QUIET = 0.5  # load average before a point of a machine without other work
LOADED = "†"

HEAD = """# Time to quality

What a training from scratch reaches on unseen pictures after 1 and 10 minutes of processor time. All rows of a table
train on the same pictures, and one outside program measures them on the same held-out ones
(pycocotools for boxes). Written by `python -m benchmarks.quality` from [quality.json](quality.json).

Pellucid is `pellucid train TASK DATA` with its defaults: without any shipped weights (`start.weights=`), as the others
train, and from the shipped backbone, which was trained on none of these sets. The other libraries train as their guides
say, without downloaded weights (`benchmarks/quality/peers`). The processor time is that of the whole command and its
children, in two threads unless stated; the epochs that fit follow from shorter trainings. Each cell: the mean over the
seeds (smallest to largest), epochs and seconds.
"""
LOADED_NOTE = f"""
{LOADED} measured beside other work (the page's file states the load and the threads), which slows all rows.
"""


def rows(name: str) -> list[str]:
    """Return the titles of a set's rows."""
    return [*SETS[name].starts, SETS[name].peer_title]


def point_key(name: str, row: str, minutes: int, seed: int) -> str:
    return f"{name}; {row}; {minutes} min; seed {seed}"


def text(results: Mapping[str, Any]) -> str:
    """Return the page of the results, as they are in docs/quality.json."""
    points: Mapping[str, Mapping[str, Any]] = results.get("points", {})
    sections = [HEAD]
    for name, one in SETS.items():
        titles = " and ".join(one.figures.values())
        columns = [f"{titles} after {minutes} min" for minutes in MINUTES]
        lines = [
            f"\n## {one.title}\n",
            f"| row | {' | '.join(columns)} |",
            f"|---|{'---|' * len(columns)}",
        ]
        for row in rows(name):
            cells = [cell(name, row, minutes, points) for minutes in MINUTES]
            lines.append(f"| {row} | {' | '.join(cells)} |")
        sections.append("\n".join(lines) + "\n" + (f"\n{fill(one.note, 120)}\n" if one.note else ""))
    if any(is_loaded(point) for point in points.values()):
        sections.append(LOADED_NOTE)
    if points:
        sections.append(f"\n{conditions([*points.values()])}\n")
    return "".join(sections)


def cell(name: str, row: str, minutes: int, points: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the figures of a row after some minutes, over the seeds that are measured."""
    keys = [point_key(name, row, minutes, seed) for seed in SEEDS]
    measured = [points[key] for key in keys if key in points]
    if not measured:
        return "not yet measured"
    figures = " and ".join(figure_text([100 * point[key] for point in measured]) for key in SETS[name].figures)
    epochs = range_text([point["epochs"] for point in measured])
    seconds = range_text([round(point["seconds"]) for point in measured])
    seeds = "" if len(measured) == len(SEEDS) else f", {len(measured)} of {len(SEEDS)} seeds"
    mark = LOADED if any(map(is_loaded, measured)) else ""
    return f"{figures}{mark}; {epochs} epochs, {seconds} s{seeds}"


def figure_text(values: Sequence[float]) -> str:
    """Return the mean of percentages, and their range if there are several."""
    spread = f" ({min(values):.1f} to {max(values):.1f})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f} %{spread}"


def range_text(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low}" if low == high else f"{low} to {high}"


def is_loaded(point: Mapping[str, Any]) -> bool:
    """Return whether other work ran beside a point."""
    return point["load"] > QUIET


def conditions(points: Sequence[Mapping[str, Any]]) -> str:
    """Return when, where and with what the points were measured."""
    dates = sorted({point["date"] for point in points})
    commits = sorted({point["commit"] for point in points})
    machines = sorted({f"{machine(point)}, torch {point['torch']}" for point in points})
    return f"Measured {' to '.join(sorted({dates[0], dates[-1]}))}, commit {', '.join(commits)}, {'; '.join(machines)}."
