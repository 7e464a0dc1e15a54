"""docs/benchmarks.md, written from the figures of the benchmark."""

import importlib.metadata
import platform
import statistics
from typing import Any

from benchmarks.jobs import JOBS
from benchmarks.results import machine, measured_with
from pellucid.text import plural

# Targets against PyTorch: (smallest ratio of times, largest ratio of tensor memory)
TARGETS: dict[str, tuple[float, float]] = {
    "mlp-10": (3.0, 0.85),
    "lenet-16": (1.3, 0.85),
    "lenet-64": (1.12, 0.85),
    "resnet20-16": (1.10, 0.85),
    "vgg16": (1.05, 0.85),
    "resnet50": (1.05, 0.85),
    "densenet121": (1.05, 0.85),
    "mobilenet_v2": (1.05, 0.85),
    "pix2pix": (0.95, 0.85),
}
# Targets of mixed precision: ratio of times to PyTorch under autocast, and to PyTorch in float32
BF16_TARGETS: dict[str, tuple[float, float]] = {"resnet20-64-bf16": (1.0, 2.0)}
# Targets of threads = "auto": the speed relative to the best number of threads, by the load of the machine
THREADS_TARGETS = {"idle": 0.97, "busy": 0.8, "busy later": 0.8}
PACKAGES = ("torch", "numpy", "jax", "keras", "scikit-learn", "onnxruntime")

HEAD = """# Benchmarks

Written by `make bench`; nothing here is typed by hand. Each job states when and on which machine it was measured. The
figures of one job are from one run; different jobs may have been measured on different machines.

A job is one training step of plain gradient descent on one batch, in float32 unless its name contains bf16. If its name
contains inference, a job is the computation of the outputs for one batch. There, `Model.predictor()`, which folds
normalization into convolutions beforehand, is compared with the reference definition under `torch.inference_mode`.
Every peer runs in its own process with its best memory format and thread count. Bursts of the peers alternate, and a
ratio compares two bursts of the same round. **Ratio** is the peer's time divided by Pellucid's: above 1, Pellucid is
faster. **Tensors** is the peak memory of the tensors of one step without parameters and data, measured by PyTorch's
profiler. **Process** is the increase of the resident memory of the process over its value before the first step,
including everything that allocators, threads and compilers keep. The ratios of memory are Pellucid's value divided by
the peer's: below 1, Pellucid needs less.
"PyTorch, in place" is the same network with in-place ReLU and residual sums, as in torchvision; "PyTorch, compiled" is
the network of "PyTorch" under `torch.compile`, channels-last; "onnxruntime" runs the ONNX file that Pellucid exports.
In training, every peer uses the allocator setting of `fit` (pellucid/training/process.py: freed memory stays in the
process), which is available to all users of PyTorch; in inference, no peer uses it.
If a target is missed, docs/profile.md shows the kernels.
"""
THREADS_HEAD = """## threads: the number of CPU threads, fixed and "auto"

Images per second with each number of threads, and with the number that `recipe.threads` or the `threads` of
`Model.predictor`, both "auto", chose: the median of bursts in turn; the ratio is taken within a round. **Idle**: no
other process runs. **Busy**: as many other processes as cores compute all the time. **Busy later**: they begin after
"auto" has chosen its number, and the bursts begin after it has noticed; trainings have `distributed.exact = false`.
Written by `python -m benchmarks.threads`.
"""
# For training jobs without the peer "PyTorch, compiled", which was added together with the allocator setting.
UNEQUAL_NOTE = (
    "These figures were measured before the peers used the allocator setting, to which most of the advantage on "
    "convolutional networks is due: expect a lower ratio."
)


def write_table(results: dict[str, dict[str, Any]]) -> str:
    """Return the page; results: for each job, its figures and the conditions of the measurement."""
    sections = [_section(name, **results[name]) for name in JOBS if name in results]
    sections += [_threads_section(**results["threads"])] if "threads" in results else []
    return "\n".join([HEAD, *sections])


def conditions() -> str:
    """Return the date, the machine and the versions of a measurement, as text."""
    environment = measured_with()
    installed = {one.name for one in importlib.metadata.distributions()}
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES if name in installed)
    return f"{environment['date']}, {machine(environment)}, Python {platform.python_version()}, {versions}"


def _section(name: str, figures: list[dict[str, Any]], measured: str) -> str:
    job = JOBS[name]
    ours = next(figure for figure in figures if figure["peer"] == "Pellucid")
    work = "batch" if job.inference else "step"
    lines = [
        f"## {name}: {job.network}, batch {job.batch}, {'x'.join(map(str, job.shape))}, {job.precision}",
        "",
        f"| peer | form | threads | time a {work} | images/s | ratio (least, most) | tensors | process |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for figure in figures:
        middle = statistics.median(figure["seconds"])
        ratios = figure["ratios"]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}, {max(ratios):.2f})"
        form = "compiled" if figure["variant"] == "keras" else ""
        if figure["variant"].startswith("torch"):
            form = "NCHW" if figure["variant"].endswith("nchw") else "channels-last" if len(job.shape) == 3 else ""
        if figure is ours:
            spread = "1"
        cells = [_bytes_text(figure[kind], ours[kind], figure is ours) for kind in ("tensors", "memory")]
        lines.append(
            f"| {figure['peer']} | {form} | {figure['threads']} | {_time_text(middle)} | {job.batch / middle:,.0f} "
            f"| {spread} | {' | '.join(cells)} |"
        )
    lines += ["", f"Measured {measured}."]
    if not job.inference and not any(figure["variant"] == "torch-compile" for figure in figures):
        lines += ["", UNEQUAL_NOTE]
    if name in TARGETS:
        speed, memory = TARGETS[name]
        lines += [
            "",
            f"Target against PyTorch: ratio at least {speed:g}, tensor memory at most {memory:g} of PyTorch's.",
        ]
    if job.inference:
        lines += ["", "Target against PyTorch: ratio at least 1."]
    if name in BF16_TARGETS:
        half, full = BF16_TARGETS[name]
        lines += ["", f"Target: ratio at least {half:g} to PyTorch under autocast, {full:g} to PyTorch in float32."]
    return "\n".join(lines) + "\n"


def _threads_section(rows: list[dict[str, Any]], measured: str) -> str:
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
            f"| {row['work']} | {row['load']} | {' | '.join(cells)} | {row['chosen']} | {row['ratio']:.2f} "
            f"| {THREADS_TARGETS[row['load']]:g} |"
        )
    return "\n".join([*lines, "", f"Measured {measured}."]) + "\n"


def _bytes_text(peer_bytes: float, our_bytes: float, is_ours: bool) -> str:
    if peer_bytes <= 0:
        return "-"
    if our_bytes > 100 * peer_bytes:  # the peer had allocated its memory before the first step
        return f"{peer_bytes / 2**20:.1f} MiB"
    return f"{peer_bytes / 2**20:.1f} MiB" + ("" if is_ours else f" ({our_bytes / peer_bytes:.2f})")


def _time_text(seconds: float) -> str:
    return f"{seconds * 1e6:,.1f} us" if seconds < 1e-3 else f"{seconds * 1e3:,.2f} ms"
