"""Measure how time and memory of a training step grow, and write docs/growth.md: `python -m benchmarks.growth`.

In each series one number changes, such as the batch size, and all else stays the same. Pellucid and PyTorch, in place
and channels-last, run in turn in processes of their own, as in `benchmarks.run`.
"""

import argparse
import json
import math
import os
import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from matplotlib.ticker import NullFormatter

from benchmarks.jobs import DETECTORS, GROWTH, Job
from benchmarks.run import Worker, rotated
from benchmarks.table import DOCS, conditions, time_text
from pellucid.base.files import write_atomically
from pellucid.report.figures.style import (
    BLUE,
    FIGURE_WIDTH,
    INK,
    ORANGE,
    SMALL,
    Plot,
    light_grid,
    png,
    set_log_scale,
    style_axes,
)

ROUNDS = 5
BURST_SECONDS = 0.2  # a burst is the number of steps that takes about this time, at least one
KINK = 1.2  # an exponent above which the time grows faster than the number to which it should be proportional
MEASURES = (("seconds", 1e3, "ms a step"), ("tensors", 2**-20, "MiB of tensors"))  # key, factor, label of the axis
COLOURS = {"Pellucid": BLUE, "PyTorch, in place": ORANGE}
# The power of the number to which the arithmetic of a step is proportional, once it dominates; 0 for a part of a step
# that stays small.
POWERS = {"batch": 1, "image size": 2, "width": 2, "depth": 1, "classes": 1, "data set size": 0, "boxes": 0}

HEAD = """# Growth

How time and memory of a training step grow with one number, on a thread per core. Written by `make bench`
(`python -m benchmarks.growth`); the time and the memory for each number are in [growth.json](growth.json).

ResNet-20 with 16 maps in its first stage trains on 32 images of 32 x 32 pixels and 10 classes, unless the series
changes it; images of other sizes are 8 at a time. The data set is in memory, and LeNet trains on batches of 64 of its
images, drawn in a random order. The boxes are objects in each of 4 images of 240 x 320 pixels, for the single-stage
detector. **Tensors** is the peak memory of the tensors of a step without parameters and data. The ratios are PyTorch's
value divided by Pellucid's, from the smallest to the largest: above 1, Pellucid is faster or needs less.

**Power** is that of the arithmetic of a step. **Exponent** is the largest slope of time over the number, on logarithmic
axes, between two neighbouring numbers: Pellucid's, and PyTorch's there. One more than {kink:g} times the power, or than
{kink:g} if that is 0, is a kink, and is marked with `!`; if PyTorch's is as high, the cause is in the kernels and
caches, which both share.

![Time and memory of a step in each series](growth.png)

| series | numbers | power | exponent | PyTorch's | time, ratio | tensors, ratio |
|---|---|---:|---:|---:|---:|---:|
"""


def peers_of(job: Job) -> dict[str, str]:
    """Return the workers' names of the peers, by the peers' names."""
    return {"Pellucid": "pellucid", "PyTorch, in place": "torch" if job.network in DETECTORS else "torch-inplace"}


def measure(name: str, job: Job, cores: int) -> dict[str, dict[str, float]]:
    """Return seconds per step, tensor memory in bytes, and the ratio of times to Pellucid's, for each peer."""
    workers = {peer: Worker(variant, name, cores) for peer, variant in peers_of(job).items()}
    tensors = {peer: worker.ask("tensors") for peer, worker in workers.items()}
    steps = max(1, min(1000, int(BURST_SECONDS / min(worker.ask("3") / 3 for worker in workers.values()))))
    rounds = [{peer: workers[peer].burst(steps) for peer in rotated([*workers], k)} for k in range(ROUNDS)]
    for worker in workers.values():
        worker.close()
    return {
        peer: {
            "seconds": statistics.median(row[peer] for row in rounds),
            "ratio": statistics.median(row[peer] / row["Pellucid"] for row in rounds),
            "tensors": tensors[peer],
        }
        for peer in workers
    }


def exponents(rows: Sequence[Mapping[str, Any]], peer: str) -> list[float | None]:
    """Return the slope of the logarithm of a peer's time from each row's predecessor; None for the first row."""
    points = [(math.log(row["number"]), math.log(row["peers"][peer]["seconds"])) for row in rows]
    return [None, *((y - last_y) / (x - last_x) for (last_x, last_y), (x, y) in pairwise(points))]


def series_row(series: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the row of the page for one series."""
    power = POWERS[series]
    slopes = zip(*(exponents(rows, name)[1:] for name in COLOURS), strict=True)
    steepest = max(slopes, key=lambda pair: pair[0] or 0.0)
    exponent_cells = [f"{slope or 0.0:.2f}{kink_mark(slope or 0.0, power)}" for slope in steepest]
    pairs = [[row["peers"][name] for name in COLOURS] for row in rows]
    time_ratios = [theirs["ratio"] for _, theirs in pairs]
    memory_ratios = [theirs["tensors"] / ours["tensors"] for ours, theirs in pairs]
    spreads = [f"{min(ratios):.2f} to {max(ratios):.2f}" for ratios in (time_ratios, memory_ratios)]
    numbers = f"{rows[0]['number']:,} to {rows[-1]['number']:,}"
    return f"| {' | '.join([series, numbers, str(power), *exponent_cells, *spreads])} |\n"


def kink_mark(slope: float, power: int) -> str:
    """Return " !" for an exponent that the arithmetic does not explain, otherwise an empty text."""
    return " !" if slope > KINK * max(power, 1) else ""


def figure(results: Mapping[str, Mapping[str, Any]]) -> Plot:
    """Return one plot of time and one of tensor memory for each series, on logarithmic axes."""
    width, row_height, top = FIGURE_WIDTH + 1.2, 2.1, 0.35  # inches
    plot_width, plot_height, left, below = (FIGURE_WIDTH - 0.6) / 2, 1.45, 0.75, 0.5
    height = row_height * len(results) + top
    drawing = Plot((width, height))
    for index, (series, result) in enumerate(results.items()):
        rows = result["rows"]
        for column, (key, scale, label) in enumerate(MEASURES):
            x = left + column * (plot_width + left + 0.1)
            y = height - top - row_height * (index + 1) + below
            plot = drawing.add_axes((x / width, y / height, plot_width / width, plot_height / height))
            style_axes(plot)
            light_grid(plot)
            numbers = [row["number"] for row in rows]
            for name, colour in COLOURS.items():
                values = [row["peers"][name][key] * scale for row in rows]
                plot.plot(numbers, values, color=colour, marker="o", markersize=3, linewidth=1.5, label=name)
            plot.set_xscale("log")
            shown = numbers if len(numbers) < 7 else numbers[:: 2 if len(numbers) % 2 else 3]
            plot.set_xticks(shown, [f"{number:,}" for number in shown], fontsize=SMALL)
            plot.xaxis.set_minor_formatter(NullFormatter())
            set_log_scale(plot)
            plot.set_xlabel(series, color=INK, fontsize=SMALL)
            plot.set_ylabel(label, color=INK, fontsize=SMALL)
            if index == 0 and column == 0:
                plot.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, fontsize=SMALL, frameon=False)
    return drawing


def page(results: Mapping[str, Any]) -> str:
    """Return the page of the results, as they are in docs/growth.json."""
    series = {name: results[name] for name in GROWTH if name in results}
    rows = "".join(series_row(name, result["rows"]) for name, result in series.items())
    measured = "; ".join(dict.fromkeys(result["measured"] for result in series.values()))
    return f"{HEAD.format(kink=KINK)}{rows}\nMeasured {measured}.\n"


def write_page(results: Mapping[str, Any]) -> None:
    """Write docs/growth.md and docs/growth.png."""
    series = {name: results[name] for name in GROWTH if name in results}
    write_atomically(DOCS / "growth.md", page(results).encode())
    write_atomically(DOCS / "growth.png", png(figure(series)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", nargs="*", default=[*GROWTH], choices=GROWTH, help="all of them unless given")
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    path = DOCS / "growth.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    for name in options.series:
        rows: list[dict[str, Any]] = []
        for number, job in GROWTH[name].items():
            rows.append({"number": number, "peers": measure(f"{name}:{number}", job, cores)})
            ours = rows[-1]["peers"]["Pellucid"]
            ratio = rows[-1]["peers"]["PyTorch, in place"]["ratio"]
            print(f"{name} {number:,}: {time_text(ours['seconds'])}, ratio {ratio:.2f}", flush=True)
        results[name] = {"rows": rows, "measured": conditions()}
        write_atomically(path, (json.dumps(results, indent=1) + "\n").encode())
        write_page(results)


if __name__ == "__main__":
    main()
