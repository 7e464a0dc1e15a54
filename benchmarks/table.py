"""docs/benchmarks.md, written from the figures of the benchmark."""

import importlib.metadata
import json
import math
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.jobs import DETECTORS, JOBS
from benchmarks.results import ROOT, machine, measured_with
from pellucid.base.text import plural

# Targets of training: the smallest ratio of times to PyTorch's fastest form
TARGETS: dict[str, float] = {
    "mlp-10": 3.0,
    "lenet-64": 1.15,
    "resnet20-16": 1.12,
    "resnet20-64": 1.05,
    "vgg16": 1.03,
    "resnet50": 1.05,
    "densenet121": 1.15,
    "mobilenet_v2": 1.2,
    "fcn8": 1.1,
    "pix2pix": 1.1,
    "dcgan": 1.1,
    **{f"detect-{name}": 1.1 for name in DETECTORS},
}
MAX_TENSORS = 0.8  # target of training: tensor memory as a fraction of PyTorch's
# Targets of inference: the smallest ratio of times to eager PyTorch, and to onnxruntime for one image and for more
MIN_EAGER, MIN_ONNXRUNTIME_SINGLE, MIN_ONNXRUNTIME = 1.3, 0.9, 1.0
EAGER, COMPILED, ONNXRUNTIME = ("PyTorch", "PyTorch, in place"), "PyTorch, compiled", "onnxruntime"
# Targets of mixed precision: ratio of times to PyTorch under autocast, and to PyTorch in float32
BF16_TARGETS: dict[str, tuple[float, float]] = {"resnet20-64-bf16": (1.0, 2.0)}
FLOAT32 = "PyTorch, float32"
BF16_PEERS = ("PyTorch", FLOAT32)  # with these targets
MIN_STREAMING = 0.9  # speed of a training that streams its images, relative to one that has them in memory
# Targets of threads = "auto": the speed relative to the best number of threads, by the load of the machine
THREADS_TARGETS = {"idle": 0.97, "busy": 0.8, "busy later": 0.8}
DOCS = ROOT / "docs"
PACKAGES = ("torch", "numpy", "jax", "keras", "scikit-learn", "onnxruntime")

HEAD = """# Benchmarks

Written by `make bench`; nothing here is typed by hand. Seconds, memory and every round of each job are in
[benchmarks.json](benchmarks.json).

A job is one training step on one batch: plain gradient descent, or for pix2pix and DCGAN both turns with Adam. If its
name contains inference, a job is the prediction of one batch by `Model.predictor()` with its checks, or by a detector
with decoding and suppression; other peers compute the outputs without checks, PyTorch under `torch.inference_mode`.
Every peer runs in its own process, PyTorch in the memory format that is faster; small networks and single images with
the best number of threads of each peer, other jobs with a thread per core; all with the allocator setting of `fit`
(freed memory stays in the process), which is available to all users of PyTorch. Bursts of the peers alternate, and a
ratio compares two bursts of the same round.

**Ratio** is the peer's time divided by Pellucid's: above 1, Pellucid is faster; in brackets, the 95 % interval of its
median over the rounds, or the smallest and the largest ratio of fewer than six rounds. A target is *missed* if the
median is below it; if only the lower end of the interval is, it is *unclear*. **Tensors** is the peak memory of the
tensors of a step without parameters and data, as a fraction of the peer's. "PyTorch, in place" has in-place ReLU and
residual sums, as in torchvision; "PyTorch, compiled" is under `torch.compile`; "onnxruntime" runs the ONNX file that
Pellucid exports. Detectors and opened networks have no in-place form, detectors and EfficientNet-B0 no compiled one.
PyTorch's detectors compute RoIAlign by tensor operations, since it has no kernel for it. [Where the time
goes](profile.md) compares the kernels with what the machine can reach.
"""
TRAINING_HEAD = """## Training

The ratio to the fastest of PyTorch's forms in this job, the fraction of its tensor memory, and the targets.

| job | fastest form | ratio | target | tensors | target |
|---|---|---:|---:|---:|---:|
"""
INFERENCE_HEAD = """## Inference

The ratios to the faster of PyTorch's eager forms, to its compiled form, and to onnxruntime, and the targets.

| job | eager | target | compiled | onnxruntime | target |
|---|---:|---:|---:|---:|---:|
"""
OTHERS_HEAD = """## Other libraries, and mixed precision

| job | peer | ratio | target |
|---|---|---:|---:|
"""
STREAM_HEAD = """## Training on a folder of images

One epoch on a folder of image files of 32 x 32 pixels, streamed from the files or read into memory before. Medians of
{rounds} trainings of each kind, in turns. Memory is the peak resident memory of the process. Written by
`python -m benchmarks.stream`.

| images | streamed, images/s | in memory, images/s | ratio | target | streamed, memory | in memory, memory |
|---:|---:|---:|---:|---:|---:|---:|
"""
THREADS_HEAD = """## The number of CPU threads, fixed and "auto"

Images per second with each number of threads, and with the number that `recipe.threads` or the `threads` of
`Model.predictor`, both "auto", chose: the median of bursts in turn; the ratios are taken within a round. **Idle**: no
other process runs. **Busy**: as many other processes as cores compute all the time. **Busy later**: they begin after
"auto" has chosen its number, and the bursts begin after it has noticed; trainings have `distributed.exact = false`.
Written by `python -m benchmarks.threads`.
"""
READING_HEAD = """## Reading: JPEG files of 640 x 480 pixels, resized

Images per second in as many threads or processes as processors: Pellucid's loader, PyTorch's DataLoader over files read
as by torchvision's `ImageFolder` with `Resize`, and the decoder alone, all but PyTorch's at half of the size if that
suffices. While training: an epoch of four convolutions on these files, each library with its own step; in the decoder's
row, from memory. Written by `python -m benchmarks.reading`.

| resized to | reader | images/s | of the decoder | while training |
|---:|---|---:|---:|---:|
"""


def write_table(results: dict[str, dict[str, Any]]) -> str:
    """Return the page; results: for each job, its figures and the conditions of the measurement."""
    measured = {name: results[name] for name in JOBS if name in results}
    training_rows = [_training_row(name, job["figures"]) for name, job in measured.items() if _is_training(name)]
    inference_rows = [_inference_row(name, job["figures"]) for name, job in measured.items() if JOBS[name].inference]
    sections = [TRAINING_HEAD + "".join(training_rows), INFERENCE_HEAD + "".join(inference_rows)]
    sections += [OTHERS_HEAD + "".join(_other_rows(measured))]
    sections += [_threads_section(results["threads"]["rows"])] if "threads" in results else []
    sections += [_stream_section(results["stream"]["rows"])] if "stream" in results else []
    sections += [_reading_section(results["reading"])] if "reading" in results else []
    conditions_text = "; ".join(dict.fromkeys(one["measured"] for one in results.values()))
    return "\n".join([HEAD, *sections, f"Measured {conditions_text}.\n"])


def _other_rows(jobs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the rows of peers other than PyTorch in the precision of the job, and of all peers of mixed precision."""
    rows: list[str] = []
    for name, job in jobs.items():
        is_mixed = name in BF16_TARGETS
        for figure in job["figures"]:
            peer = figure["peer"]
            if peer != "Pellucid" and (is_mixed or peer not in (*EAGER, COMPILED, ONNXRUNTIME)):
                target = BF16_TARGETS[name][peer == FLOAT32] if is_mixed and peer in BF16_PEERS else None
                rows.append(f"| {name} | {peer} | {' | '.join(_with_target(figure['ratios'], target))} |\n")
    return rows


def _is_training(name: str) -> bool:
    return not JOBS[name].inference and JOBS[name].precision == "float32"


def _training_row(name: str, figures: Sequence[Mapping[str, Any]]) -> str:
    """Return the row of the overview for a training job: its ratio to PyTorch's fastest form."""
    ours = _figures_of(figures, ("Pellucid",))[0]
    fastest = min(_figures_of(figures, (*EAGER, COMPILED)), key=lambda figure: statistics.median(figure["ratios"]))
    speed = _with_target(fastest["ratios"], TARGETS.get(name))
    fraction = ours["tensors"] / fastest["tensors"]
    memory = f"{fraction:.2f}{'' if fraction <= MAX_TENSORS else ' missed'}"
    return f"| {name} | {fastest['peer']} | {' | '.join(speed)} | {memory} | {MAX_TENSORS:g} |\n"


def _inference_row(name: str, figures: Sequence[Mapping[str, Any]]) -> str:
    """Return the row of the overview for an inference job: its ratios to PyTorch and to onnxruntime."""
    smallest_onnxruntime = MIN_ONNXRUNTIME_SINGLE if JOBS[name].batch == 1 else MIN_ONNXRUNTIME
    cells: list[str] = []
    for peers, target in ((EAGER, MIN_EAGER), ((COMPILED,), None), ((ONNXRUNTIME,), smallest_onnxruntime)):
        ratios = min((figure["ratios"] for figure in _figures_of(figures, peers)), key=statistics.median, default=[])
        cell, target_cell = _with_target(ratios, target) if ratios else ("-", "-")
        cells += [cell] if peers == (COMPILED,) else [cell, target_cell]
    return f"| {name} | {' | '.join(cells)} |\n"


def _figures_of(figures: Sequence[Mapping[str, Any]], peers: Sequence[str]) -> list[Mapping[str, Any]]:
    return [figure for figure in figures if figure["peer"] in peers]


def _with_target(ratios: Sequence[float], target: float | None) -> tuple[str, str]:
    """Return the cells of the ratio and of its smallest allowed value; the ratio says if that is not certain."""
    cell = _ratio_text(ratios)
    if target is None:
        return cell, "-"
    if statistics.median(ratios) < target:
        cell += " missed"
    elif median_interval(ratios)[0] < target:
        cell += " unclear"
    return cell, f"{target:g}"


def _ratio_text(ratios: Sequence[float]) -> str:
    low, high = median_interval(ratios)
    return f"{statistics.median(ratios):.2f} ({low:.2f} to {high:.2f})"


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the median between two of the sorted values (the sign test), for few values all."""
    ordered, count = sorted(values), len(values)
    rank = 0
    while sum(math.comb(count, k) for k in range(rank + 1)) / 2**count <= 0.025:
        rank += 1
    rank = max(rank - 1, 0)
    return ordered[rank], ordered[count - 1 - rank]


def stored_page() -> str:
    """Return the page of docs/benchmarks.json."""
    return write_table(json.loads((DOCS / "benchmarks.json").read_text()))


def publish(section: str, figures: Mapping[str, Any]) -> None:
    """Replace a section of docs/benchmarks.json, under the present conditions, and write docs/benchmarks.md."""
    path = DOCS / "benchmarks.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    results[section] = {"measured": conditions(), **figures}
    path.write_text(json.dumps(results, indent=1) + "\n")
    (DOCS / "benchmarks.md").write_text(write_table(results))


def conditions() -> str:
    """Return the date, the commit, the machine and the versions of a measurement, as text."""
    environment = measured_with()
    git = ["git", "rev-parse", "--short=8", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()
    installed = {one.name for one in importlib.metadata.distributions()}
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES if name in installed)
    python = platform.python_version()
    return f"{environment['date']}, commit {commit}, {machine(environment)}, Python {python}, {versions}"


def _threads_section(rows: list[dict[str, Any]]) -> str:
    counts = [threads for threads in rows[0]["rates"] if threads != "auto"]
    lines = [
        THREADS_HEAD,
        f"| work | load | {' | '.join(plural(int(count), 'thread') for count in counts)} "
        "| auto | chosen | auto / best | target |",
        f"|---|---|{'---:|' * (len(counts) + 4)}",
    ]
    for row in rows:
        rates = row["rates"]
        cells = [f"{rates[count]:,.0f}" for count in (*counts, "auto")]
        lines.append(
            f"| {row['work']} | {row['load']} | {' | '.join(cells)} | {row['chosen']} "
            f"| {' | '.join(_with_target(row['ratios'], THREADS_TARGETS[row['load']]))} |"
        )
    return "\n".join(lines) + "\n"


def _stream_section(rows: list[dict[str, Any]]) -> str:
    lines = [STREAM_HEAD.format(rounds=len(rows[0]["streamed"])).rstrip("\n")]
    for row in rows:
        (speed, memory), (loaded_speed, loaded_memory) = (
            [statistics.median(epoch[key] for epoch in row[kind]) for key in ("images_per_second", "memory")]
            for kind in ("streamed", "memory")
        )
        mark = " missed" if speed / loaded_speed < MIN_STREAMING else ""
        lines.append(
            f"| {row['images']:,} | {speed:,.0f} | {loaded_speed:,.0f} | {speed / loaded_speed:.2f}{mark} "
            f"| {MIN_STREAMING:g} | {memory / 2**20:,.0f} MiB | {loaded_memory / 2**20:,.0f} MiB |"
        )
    return "\n".join(lines) + "\n"


def _reading_section(figures: dict[str, dict[str, dict[str, float]]]) -> str:
    lines = [READING_HEAD.rstrip("\n")]
    for side, speeds in figures["speeds_by_side"].items():
        *_, limit = speeds.values()
        training_speeds = figures["training_speeds_by_side"][side].values()
        for (name, speed), training_speed in zip(speeds.items(), training_speeds, strict=True):
            lines.append(f"| {side} x {side} | {name} | {speed:,.0f} | {speed / limit:.0%} | {training_speed:,.0f} |")
    return "\n".join(lines) + "\n"


def time_text(seconds: float) -> str:
    """Return a duration in microseconds or milliseconds, as text."""
    return f"{seconds * 1e6:,.1f} us" if seconds < 1e-3 else f"{seconds * 1e3:,.2f} ms"
