"""docs/scaling.md, written from docs/scaling.json and the model of large.py."""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.scaling.large import (
    BATCH,
    EPOCHS,
    GPUS,
    HOST_CORES,
    IMAGENET_IMAGES,
    MANY_IMAGES,
    NETWORK_RATES,
    SOURCES,
    Cluster,
    clusters,
)

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
MAX_ERROR = 0.15  # relative error
SUMMARY_COLUMNS = ("errors", f"within {100 * MAX_ERROR:.0f} %", "median", "largest")
CORE_COUNTS = (16, 32, 64, HOST_CORES)

HEAD = """# Scaling

Written by `python -m benchmarks.distributed` and `python -m benchmarks.scaling`; nothing here is typed by hand.

The first section compares two processes with one, and with PyTorch's DistributedDataParallel. The next sections
describe a model of the time of a step, and compare its predictions with measurements. The last section contains the
model's predictions for ResNet-50 on up to 512 GPUs. They are only as good as the assumptions listed above them.
"""
EFFICIENCY = """## Two processes compared with one

One process with one thread computes a batch, or each of two processes half of it. Efficiency is the time of the one
process divided by the sum of both processes' times: **processor** in processor time, **clock** in wall-clock time. The
latter is also reduced by other programs that use the second core. **No exchange** is the efficiency of two processes
that compute their halves without exchanging gradients: the most that an exchange can reach on this machine, whose cores
share caches and memory. `exact=false` adds gradients in any order; two processes use the same all-reduce for both.
Medians of the rounds, with the first and third quartiles; the speed of this machine changes within seconds.
"""
MODEL = """## The model

| part | time |
|---|---|
| computing a shard | measured with two running processes; with more processes than cores, times processes / cores |
| waiting | the median of the slowest of P processes, by the order statistics of the measured times of single steps |
| copies | bytes of the gradients, times seconds per byte: of a scaled copy, additions of the parts, and a division |
| exact sum (Pellucid) | all-gather of a table; two processes: ring all-reduce; more: all-to-all and all-gather |
| ring all-reduce (DDP) | 2 (P - 1) messages of 1 / P of a bucket, while the backward pass computes the next bucket |
| a message | software + delay + bytes / rate; the first of an operation adds one delay, until its receiver is ready |
| the next images | at most hosts x cores x images decoded per core |

The software time and the rate of the connection are measured by exchanges without computing, the times of copies by
copies, and the time of computing by steps without exchanges, in turns with the measured steps. If processes share
cores, an exchange slows down like computing. The number of delays in an operation was counted on separate operations,
at delays of 10 and 30 ms. No parameter is fitted to the steps below.
"""
VALIDATION = """## Predicted and measured times

The neural networks are an MLP with four million parameters (16 MB of gradients) and ResNet-20 (1 MB). The computer
network connects two network namespaces of Linux. The kernel's token bucket (`tc ... tbf`) limits the rate of each
direction. The one-way delay is added by a program that forwards the frames, because this kernel has no `netem`. Frames
have 9,000 bytes, TCP has no slow start after a pause (`tcp_slow_start_after_idle = 0`), and its windows are larger than
a message. Four processes share two cores. The measured processes ran with a raised priority (`nice`), because the
machine ran other programs as well.

The exact sum of two processes is one all-reduce of all gradients here, so that nothing overlaps; trainings send it in
buckets of 4 MiB. What the model leaves out of a long all-reduce over a network, see the next section, is missing in the
rows of the MLP too. Why two and four processes on one machine take a fifth longer than predicted was not found.
"""
EXCHANGES = """## All-reduces alone

An all-reduce between the two network namespaces, without computing. Up to 4 MB, the model is right wherever there is a
delay. 8 MB take three delays more than predicted, and 16 MB nine, unless a delay is much shorter than the transfer of a
megabyte: all-reduces of gloo seem to consist of segments, of which few are under way at a time. The model has no term
for this. Without a delay, the token bucket has no pauses in which it fills.
"""
LARGE = """## ResNet-50 on 1 to 512 GPUs

No GPU was measured for this page. The assumptions:
"""
NOTES = """The hours are computing time only; whether batches of {most:,} images train as well as batches of 256 is
another question. NVIDIA measured 16,621 images/s on eight GPUs with its input pipeline. The model, which never waits
for input, predicts {eight:,.0f}.

The tables are for a ring all-reduce with overlap, whose times were all predicted within 15 %. Not all times of the
exact sum were, so no larger predictions are made for it. With more than two processes, each GPU sends parts to all
others, so a host of eight GPUs sends eight times the bytes of a ring in that phase. Adding the shards of a host before
sending them keeps the tree, and should be implemented before the exact sum runs on many hosts.
"""


def record(part: str, figures: Mapping[str, Any]) -> None:
    """Add figures by name to a part of docs/scaling.json, and write docs/scaling.md."""
    path = DOCS / "scaling.json"
    results: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    results[part] = {**results.get(part, {}), **figures}
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (DOCS / "scaling.md").write_text(page(results), encoding="utf-8")


def page(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the page."""
    parts = [HEAD, EFFICIENCY, *_efficiency(results.get("efficiency", {})), MODEL, VALIDATION]
    parts += [*_validation(results.get("validation", {})), EXCHANGES, *_exchanges(results.get("exchanges", {}))]
    return "\n".join([*parts, LARGE, *_large()])


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table; all columns except for the first are right-aligned."""
    lines = [header, ("---", *("---:" for _ in header[1:])), *rows]
    return [*("| " + " | ".join(line) + " |" for line in lines), ""]


def _efficiency(figures: Mapping[str, Any]) -> list[str]:
    if not figures:
        return ["Not measured yet.", ""]
    columns = list(dict.fromkeys(column for figure in figures.values() for column in figure["columns"]))
    rows = [(name, *(_spread(figure["columns"].get(column)) for column in columns)) for name, figure in figures.items()]
    return [*table(("network", *columns), rows), _measured(figures)]


def _spread(values: Sequence[float] | None) -> str:
    """Return the median of the values, with the quartiles; "-" for a column that was not measured."""
    if values is None:
        return "-"
    lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
    return f"{median:.2f} ({lower:.2f} to {upper:.2f})"


def _measured(figures: Mapping[str, Any]) -> str:
    """Return a sentence with the dates and machines of the measurements."""
    places = dict.fromkeys(figure["measured"] for figure in figures.values())
    return f"Measured {'; '.join(places)}.\n"


def _validation(figures: Mapping[str, Any]) -> list[str]:
    if not figures:
        return ["Not measured yet.", ""]
    rows = [row for part in figures.values() for row in part["rows"]]
    errors = [row["predicted"] / row["measured"] - 1 for row in rows]
    kinds = {"ring all-reduce with overlap (DDP)": True, "exact sum (Pellucid), and one process": False}
    errors_by_kind = [
        (kind, [error for row, error in zip(rows, errors, strict=True) if row["setting"].endswith("DDP") == is_ddp])
        for kind, is_ddp in kinds.items()
    ]
    return [
        *_comparison("network", rows),
        *table(SUMMARY_COLUMNS, ((kind, *_summary(errors)) for kind, errors in errors_by_kind if errors)),
        _measured(figures),
    ]


def _exchanges(figures: Mapping[str, Any]) -> list[str]:
    if not figures:
        return ["Not measured yet.", ""]
    return [*_comparison("size", [row for part in figures.values() for row in part["rows"]]), _measured(figures)]


def _comparison(key: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a table of predicted and measured times; key: that of the first column."""
    cells = [
        (row[key], row["setting"], *(f"{row[kind] * 1e3:,.1f} ms" for kind in ("predicted", "measured")),
         f"{100 * (row['predicted'] / row['measured'] - 1):+.0f} %")
        for row in rows
    ]  # fmt: skip
    return table((key, "setting", "predicted", "measured", "error"), cells)


def _summary(errors: Sequence[float]) -> tuple[str, str, str]:
    """Return the number of relative errors within MAX_ERROR, the median and the maximum of their sizes, as text."""
    sizes = [*map(abs, errors)]
    within = sum(size <= MAX_ERROR for size in sizes)
    return f"{within} of {len(sizes)}", f"{100 * statistics.median(sizes):.0f} %", f"{100 * max(sizes):.0f} %"


def _hours(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.1f} min"


def _row(cluster: Cluster) -> tuple[str, ...]:
    alone = Cluster(1, cluster.network).rate()
    efficiency = cluster.rate() / alone / cluster.gpus
    return (
        f"{cluster.gpus}",
        f"{cluster.step() * 1e3:.0f} ms",
        f"{cluster.communicating() * 1e3:.0f} ms",
        f"{cluster.rate():,.0f}",
        f"{100 * efficiency:.0f} %",
        _hours(EPOCHS * cluster.hours(IMAGENET_IMAGES)),
        _hours(cluster.hours(MANY_IMAGES)),
        cluster.limit(),
    )


def _large() -> list[str]:
    lines = table(("assumption", "source"), SOURCES)
    head = ("GPUs", "step", "communication, if nothing overlapped", "images/s", "efficiency",
            f"{EPOCHS} epochs of {IMAGENET_IMAGES / 1e6:.2f} million", f"{MANY_IMAGES / 1e6:.0f} million once",
            "limit")  # fmt: skip
    for network in NETWORK_RATES:
        lines += [f"### {network / 1e9:.0f} Gbit/s between hosts", ""]
        lines += table(head, [_row(cluster) for cluster in clusters() if cluster.network == network])
    lines += [NOTES.format(most=BATCH * GPUS[-1], eight=Cluster(8, NETWORK_RATES[0]).rate())]
    return [*lines, *_decoding(), *_purchases(), *_slowest()]


def _decoding() -> list[str]:
    """Return the section on decoding and reading of images by a host."""
    network = NETWORK_RATES[1]
    rows = [
        (f"{cores}", f"{Cluster(512, network, cores).rate():,.0f}", Cluster(512, network, cores).limit())
        for cores in CORE_COUNTS
    ]
    host = Cluster(8, network)
    return [
        "### Decoding and reading",
        "",
        f"A host of eight GPUs needs {host.needed_cores():.0f} cores that decode, and reads "
        f"{host.reading() / 1e9:.0f} Gbit/s of images. This is more than a network of 10 Gbit/s transfers, so the "
        f"images must be on its own disks, or smaller. 512 GPUs at {network / 1e9:.0f} Gbit/s, by the cores of a host:",
        "",
        *table(("cores", "images/s", "limit"), rows),
    ]


def _purchases() -> list[str]:
    """Return the section on the gains by purchases."""
    kinds = [*Cluster(8, NETWORK_RATES[0]).purchases()]
    cases = [
        Cluster(gpus, network, cores)
        for gpus in (8, 64, 512)
        for network in NETWORK_RATES
        for cores in (32, HOST_CORES)
    ]
    rows = [
        (
            f"{case.gpus} GPUs, {case.network / 1e9:.0f} Gbit/s, {case.cores} cores a host",
            *(f"{case.purchases()[kind]:.2f}" for kind in kinds),
            case.limit(),
        )
        for case in cases
    ]
    return [
        "### What to buy first",
        "",
        "The factor by which the images per second increase. Buy cores first if a host has fewer than its GPUs need; "
        "then a network of 100 Gbit/s, since a faster one gains almost nothing; then hosts.",
        "",
        *table(("from", *kinds, "limit"), rows),
    ]


def _slowest() -> list[str]:
    """Return the section on the standard deviation of the times of steps."""
    spreads = (0.0, 0.01, 0.03, 0.1)
    rows = [
        (f"{gpus}", *(f"{Cluster(gpus, NETWORK_RATES[1], spread=spread).step() * 1e3:.0f} ms" for spread in spreads))
        for gpus in (8, 64, 512)
    ]
    return [
        "### Waiting for the slowest",
        "",
        f"The step at {NETWORK_RATES[1] / 1e9:.0f} Gbit/s, by the standard deviation of a GPU's step:",
        "",
        *table(("GPUs", *(f"{100 * spread:.0f} %" for spread in spreads)), rows),
    ]
