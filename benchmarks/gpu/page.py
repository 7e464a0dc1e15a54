"""The page docs/gpu.md, written from the figures of the benchmark of GPUs."""

from collections.abc import Mapping, Sequence
from textwrap import shorten
from typing import Any

from benchmarks.scaling.page import table

MIB, GB = 1 << 20, 1e9
MAX_MESSAGE = 100  # characters
STEP_PARTS = "training", "keras", "compiled"
HEAD = """# A GPU

Written by `python -m benchmarks.gpu`; nothing here is typed by hand. Measured with Python {python}, torch {torch},
{device} and {cpu}.
"""
CORRECTNESS = """## Gradients

The gradients of a training step in float32 on the GPU and on the CPU, each compared with those of the CPU in float64:
the length of the difference over the length of the gradients, without TF32, the median over five networks and batches
drawn at random. Accepted is an error of at most ten times that of the CPU, or of at most 1e-5.
"""
STEPS = """## Training steps

Forward pass, backward pass and an update by SGD with momentum for 64 images of 224 x 224 pixels that are on the GPU
already, channels-last; the median of the steps of two seconds. Convolutions in float32 use TF32, which is PyTorch's
default. "pytorch" is the same network with in-place ReLU and residual sums under autograd, in bf16 under autocast;
"repeatable" are deterministic kernels, with the same bits in each run, as in trainings in shards. **Ratio** is the time
divided by Pellucid's without a graph or compiler, for the same network and precision. Keras's ResNet-50 differs in the
biases of its convolutions and in the layers that have strides, and its step includes reading the loss.
"""
MEMORY = """## Memory of a step

The most memory that a step of ResNet-50 in float32 takes on the GPU, including parameters and data.
"""
TRANSFER = """## Exchanges, copies and decoding

NCCL with one process, which copies within the GPU and sends nothing, copies of 100 MB, and JPEG images of 500 x 375
pixels that are decoded and resized to 224.
"""


def page(results: Mapping[str, Any]) -> str:
    """Return the page of the parts that are measured, with the error in place of a figure that could not be."""
    figures = {name: part["figures"] for name, part in results.items() if isinstance(part, dict)}
    sections = [HEAD.format(**results)]
    if "correctness" in figures:
        columns = "network or objective", "error of the GPU", "error of the CPU", "accepted"
        sections.append(CORRECTNESS + _table(columns, _correctness_rows(figures["correctness"])))
    # A part without any figure has its message as the only entry, "error".
    steps = {name if key == "error" else key: one for name in STEP_PARTS for key, one in figures.get(name, {}).items()}
    if steps:
        columns = "network", "precision", "form", "time a step", "images/s", "ratio", "memory"
        sections.append(STEPS + _table(columns, _step_rows(steps)))
    if "memory" in figures:
        rows = [(key, _error_of(one) or f"{one['bytes'] / MIB:,.0f} MiB") for key, one in figures["memory"].items()]
        sections.append(MEMORY + _table(("form and batch", "memory"), rows))
    rows = [
        (name, key, _error_of(one) or _rate(one))
        for name in ("collectives", "copies", "decoding")
        for key, one in figures.get(name, {}).items()
    ]
    if rows:
        sections.append(TRANSFER + _table(("part", "operation", "rate"), rows))
    return "\n".join(sections)


def _correctness_rows(figures: Mapping[str, Any]) -> list[Sequence[str]]:
    return [
        (key, message, "", "**no**")
        if (message := _error_of(one))
        else (key, f"{one['error']:.1e}", f"{one['error_of_cpu']:.1e}", "yes" if one["is_right"] else "**no**")
        for key, one in figures.items()
    ]


def _step_rows(steps: Mapping[str, Any]) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = []
    for key, one in steps.items():
        if message := _error_of(one):
            rows.append((*[*key.split(", ", 2), "", ""][:3], message, "", "", ""))
            continue
        network, precision, form = key.split(", ", 2)
        own_seconds = steps.get(f"{network}, {precision}, pellucid", {}).get("seconds")
        ratio = f"{one['seconds'] / own_seconds:.2f}" if own_seconds else ""
        has_memory = one.get("bytes") and not form.endswith("CUDA graph")  # whose replay allocates nothing
        memory = f"{one['bytes'] / MIB:,.0f} MiB" if has_memory else ""
        time = f"{1e3 * one['seconds']:.2f} ms"
        rows.append((network, precision, form, time, f"{one['images_per_second']:,.0f}", ratio, memory))
    return rows


def _rate(one: Mapping[str, Any]) -> str:
    if "images_per_second" in one:
        return f"{one['images_per_second']:,.0f} images/s"
    return f"{one['bytes_per_second'] / GB:,.1f} GB/s" + ("" if one["is_right"] else ", **wrong values**")


def _error_of(one: Mapping[str, Any]) -> str:
    """Return the message of a measurement that failed, shortened for a table; "" for one that did not."""
    message = one if isinstance(one, str) else one.get("error", "")
    return shorten(message, MAX_MESSAGE, placeholder=" ...").replace("|", r"\|") if isinstance(message, str) else ""


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n" + "\n".join(table(columns, rows))
