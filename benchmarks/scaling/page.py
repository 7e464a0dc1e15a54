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
    NETWORK_RATES,
    SOURCES,
    Cluster,
    clusters,
)

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
MAX_ERROR = 0.15  # relative error
SUMMARY_COLUMNS = ("errors", f"within {100 * MAX_ERROR:.0f} %", "median", "largest")
CORE_COUNTS = (16, 32, 64, HOST_CORES)
SPREADS = (0.0, 0.01, 0.03, 0.1)  # standard deviations of a GPU's step, relative

HEAD = """# Scaling

Two processes compared with one and with PyTorch's DistributedDataParallel; a model of the time of a step, and how well
it predicts measurements; and its predictions for ResNet-50 on up to 512 GPUs, which are only as good as the assumptions
listed above them. Written by `python -m benchmarks.distributed` and `python -m benchmarks.scaling`; nothing here is
typed by hand. All measurements and predictions are in [scaling.json](scaling.json).
"""
EFFICIENCY = """## Two processes compared with one

One process with one thread computes a batch, or each of two processes half of it. Efficiency is the time of the one
process divided by the sum of both processes' times, in **processor** time and in **clock** time; the latter is also
reduced by other programs. **No exchange**: two processes that do not exchange gradients, the most that an exchange can
reach on this machine, whose cores share caches and memory. `exact=false` adds gradients in any order. Medians of the
rounds, with the first and third quartiles.
"""
MODEL = """## The model

The time of a step consists of computing a shard, waiting for the slowest of P processes (by the order statistics of the
measured times of single steps), copies, and the exchange: for the exact sum, an all-gather of a table, then a ring
all-reduce of two processes, or an all-to-all and an all-gather of more; for DDP, a ring all-reduce of each bucket while
the backward pass computes the next one. A message takes its software time, its delay, and its bytes by the rate. Each
part is measured alone, and no parameter is fitted to the steps below.
"""
VALIDATION = """## Predicted and measured times

Steps of an MLP with 16 MB of gradients and of ResNet-20 with 1 MB, on one machine and between two network namespaces of
Linux with limited rates (50 to 1,000 Mbit/s) and added delays (0 to 20 ms); and all-reduces alone of 0.5 to 16 MB. The
error is that of the prediction. All-reduces of gloo of 8 MB and more take several delays more than predicted, since
they seem to consist of segments of which few are under way at a time; the model has no term for this. Why two and four
processes on one machine take a fifth longer than predicted was not found.
"""
LARGE = """## ResNet-50 on 1 to 512 GPUs

No GPU was measured for this page. The assumptions:
"""
NOTES = """\
The hours are computing time only; whether batches of {most:,} images train as well as batches of 256 is another
question. NVIDIA measured 16,621 images/s on eight GPUs with its input pipeline. The model, which never waits for
input, predicts {eight:,.0f}. At {slow} between hosts, the efficiency of 512 GPUs is {slow_efficiency}, at {fast}
{fast_efficiency}.

The table is for a ring all-reduce with overlap, whose times were all predicted within 15 %. Not all times of the
exact sum were, so no larger predictions are made for it. With more than two processes, each GPU sends parts to all
others, so a host of eight GPUs sends eight times the bytes of a ring in that phase.

A host of eight GPUs needs {needed:.0f} cores that decode, and reads {reading:.0f} Gbit/s of images: buy cores first
if a host has fewer, then a network of 100 Gbit/s, since a faster one gains almost nothing, then hosts.
"""


def record(part: str, figures: Mapping[str, Any]) -> None:
    """Add figures by name to a part of docs/scaling.json, and write docs/scaling.md."""
    path = DOCS / "scaling.json"
    results: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    results[part] = {**results.get(part, {}), **figures}
    results["predictions"] = predictions()
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (DOCS / "scaling.md").write_text(page(results), encoding="utf-8")


def predictions() -> dict[str, Any]:
    """Return the model's predictions for ResNet-50: for each size and network, purchases and spreads of the steps."""
    cases = [Cluster(gpus, network, cores) for gpus in GPUS for network in NETWORK_RATES for cores in CORE_COUNTS]
    rows = [
        {
            "gpus": case.gpus,
            "bits_per_second": case.network,
            "cores": case.cores,
            "seconds": _rounded(case.step()),
            "communicating": _rounded(case.communicating()),
            "images_per_second": _rounded(case.rate()),
            "limit": case.limit(),
            "purchases": {kind: _rounded(gain) for kind, gain in case.purchases().items()},
            "seconds_by_spread": {
                str(one): _rounded(Cluster(case.gpus, case.network, case.cores, one).step()) for one in SPREADS
            },
        }
        for case in cases
    ]
    return {"resnet50": {"rows": rows}}


def _rounded(value: float) -> float:
    """Return a prediction with four digits."""
    return float(f"{value:.4g}")


def page(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the page."""
    parts = [HEAD, EFFICIENCY, *_efficiency(results.get("efficiency", {})), MODEL, VALIDATION]
    parts += _validation(results.get("validation", {}), results.get("exchanges", {}))
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


def _validation(steps: Mapping[str, Any], exchanges: Mapping[str, Any]) -> list[str]:
    """Return the errors of the predictions by kind, and the steps whose prediction is worse than MAX_ERROR."""
    if not steps:
        return ["Not measured yet.", ""]
    rows = [row for part in steps.values() for row in part["rows"]]
    rows_by_kind = {
        "ring all-reduce with overlap (DDP)": [row for row in rows if row["setting"].endswith("DDP")],
        "exact sum (Pellucid), and one process": [row for row in rows if not row["setting"].endswith("DDP")],
        "all-reduces alone": [row for part in exchanges.values() for row in part["rows"]],
    }
    summaries = [(kind, *_summary([*map(_error, group)])) for kind, group in rows_by_kind.items() if group]
    bad_rows = [row for row in rows if abs(_error(row)) > MAX_ERROR]
    return [
        *table(SUMMARY_COLUMNS, summaries),
        f"Steps beyond {100 * MAX_ERROR:.0f} %:",
        "",
        *_comparison("network", bad_rows),
        _measured({**steps, **exchanges}),
    ]


def _error(row: Mapping[str, Any]) -> float:
    return row["predicted"] / row["measured"] - 1


def _comparison(key: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a table of predicted and measured times; key: that of the first column."""
    cells = [
        (
            row[key],
            row["setting"],
            *(f"{row[kind] * 1e3:,.1f} ms" for kind in ("predicted", "measured")),
            f"{100 * _error(row):+.0f} %",
        )
        for row in rows
    ]
    return table((key, "setting", "predicted", "measured", "error"), cells)


def _summary(errors: Sequence[float]) -> tuple[str, str, str]:
    """Return the number of relative errors within MAX_ERROR, the median and the maximum of their sizes, as text."""
    sizes = [*map(abs, errors)]
    within = sum(size <= MAX_ERROR for size in sizes)
    return f"{within} of {len(sizes)}", f"{100 * statistics.median(sizes):.0f} %", f"{100 * max(sizes):.0f} %"


def _hours(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.1f} min"


def _efficiency_of(cluster: Cluster) -> str:
    """Return the images per second of a cluster's GPU relative to one GPU alone."""
    alone = Cluster(1, cluster.network).rate()
    return f"{100 * cluster.rate() / alone / cluster.gpus:.0f} %"


def _row(cluster: Cluster) -> tuple[str, ...]:
    return (
        f"{cluster.gpus}",
        f"{cluster.step() * 1e3:.0f} ms",
        f"{cluster.communicating() * 1e3:.0f} ms",
        f"{cluster.rate():,.0f}",
        _efficiency_of(cluster),
        _hours(EPOCHS * cluster.hours(IMAGENET_IMAGES)),
        cluster.limit(),
    )


def _large() -> list[str]:
    slow, middle, fast = NETWORK_RATES
    lines = table(("assumption", "source"), SOURCES)
    lines += [f"At {_network(middle)} between hosts:", ""]
    head = ("GPUs", "step", "communication, if nothing overlapped", "images/s", "efficiency",
            f"{EPOCHS} epochs of {IMAGENET_IMAGES / 1e6:.2f} million", "limit")  # fmt: skip
    lines += table(head, [_row(cluster) for cluster in clusters() if cluster.network == middle])
    host = Cluster(8, middle)
    notes = NOTES.format(
        most=BATCH * GPUS[-1],
        eight=Cluster(8, slow).rate(),
        slow=_network(slow),
        slow_efficiency=_efficiency_of(Cluster(GPUS[-1], slow)),
        fast=_network(fast),
        fast_efficiency=_efficiency_of(Cluster(GPUS[-1], fast)),
        needed=host.needed_cores(),
        reading=host.reading() / 1e9,
    )
    return [*lines, notes]


def _network(rate: float) -> str:
    return f"{rate / 1e9:.0f} Gbit/s"
