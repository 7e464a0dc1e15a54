"""The overview of a trace: a row for each call, and the outputs of each example, as values, text and HTML."""

import math
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.text import aligned
from pellucid.combine.base import join
from pellucid.ops.colour import NEGATIVE_RGB, POSITIVE_RGB
from pellucid.report.embedded import Embedded, data_uri
from pellucid.trace.record import TraceRecord
from pellucid.trace.text import bar, brief

MAX_OUTPUTS = 10  # outputs of an example, and examples whose targets are in the heading
OUTPUT_COLUMNS = ("class", "output", "y", "probability", "target", "dy")  # of the table of an example's outputs
MAX_MAPS, MAX_MAPS_DEEP = 16, 8  # channels shown per layer in HTML; the second for more than MAX_LAYERS layers
MAX_LAYERS = 40  # layers with MAX_MAPS channels each
MAX_SIDE = 32  # pixels per side of one channel; larger channels are average-pooled
MAX_WIDTH, MAX_HEIGHT = 250, 96  # approximate maximum size of an image on the page, in pixels
COLOUR_LEVELS = 31  # levels of each colour; the palette's index COLOUR_LEVELS is the value 0
PALETTE = bytes(
    value
    for level in range(-COLOUR_LEVELS, COLOUR_LEVELS + 1)
    for value in (POSITIVE_RGB if level > 0 else NEGATIVE_RGB)
)
ALPHAS = bytes(round(255 * math.sqrt(abs(level) / COLOUR_LEVELS)) for level in range(-COLOUR_LEVELS, COLOUR_LEVELS + 1))


def overview(trace: TraceRecord) -> dict[str, Any]:
    """Return the loss, the outputs of each example, statistics of each call, and all tensor names, as JSON values."""
    regularizer = {"regularizer": trace.regularizer, "cost": trace.cost} if trace.penalty_gradients else {}
    return {
        "loss": trace.loss,
        **regularizer,
        **({"note": trace.input_note} if trace.input_note else {}),
        "training": trace.settings.train,
        "dtype": trace.dtype_name,
        "examples": [example_outputs(trace, row) for row in range(len(trace.passes.ys[0].tensor))],
        "calls": call_rows(trace),
        "tensors": [
            {"name": entry.name, "kind": entry.kind, "path": entry.path, "shape": list(entry.tensor.shape)}
            for entry in trace.tensors.values()
        ],
    }


def call_rows(trace: TraceRecord) -> list[dict[str, Any]]:
    """Return each call's layer, its shapes, and statistics of its output and gradients."""
    return [
        {
            "name": call.name,
            "path": call.path,
            "layer": call.title,
            "inputs": [trace.name_of(value) for value in call.inputs],
            "shape": list(call.y.shape),
            "y": statistics(call.y),
            "dy": None if call.dys is None else statistics(call.dys[0]),
            "gradients": {f"d{name}": statistics(gradient) for name, gradient in call.dparams.items()},
            "parameters": {join(call.path, name): list(call.params[name].shape) for name in call.dparams},
        }
        for call in trace.calls
    ]


def statistics(tensor: Tensor) -> dict[str, float]:
    """Return mean, root mean square, minimum, maximum, and the fraction of zeros; all 0 for an empty tensor."""
    x = tensor.double() if tensor.numel() else torch.zeros(1)
    return {
        "mean": float(x.mean()),
        "rms": float(x.square().mean().sqrt()),
        "least": float(x.min()),
        "most": float(x.max()),
        "zero": float((x == 0).double().mean()) if tensor.numel() else 0.0,
    }


def example_outputs(trace: TraceRecord, row: int) -> list[dict[str, Any]]:
    """Return up to MAX_OUTPUTS outputs of an example, largest |dy| first: class, index, y, probability, target, dy."""
    y = trace.passes.ys[0].tensor
    intermediates = trace.loss_pieces[0].intermediates
    columns = {"y": y, "probability": intermediates.get("probabilities"), "target": intermediates.get("targets")}
    columns["dy"] = trace.output_delta(0)
    flat = {name: tensor[row].flatten() for name, tensor in columns.items() if tensor is not None}
    order = flat["dy"].abs().argsort(descending=True, stable=True)[:MAX_OUTPUTS]
    classes = trace.settings.classes if y.dim() == 2 and len(trace.settings.classes) == y.shape[1] else ()
    return [
        {
            "output": k,
            **({"class": classes[k]} if classes else {}),
            **{name: float(values[k]) for name, values in flat.items()},
        }
        for k in order.tolist()
    ]


def trace_text(trace: TraceRecord) -> str:
    """Return a table of all calls, and the outputs of the first example, for a terminal."""
    table = [("call", "layer", "y", "mean", "largest", "zero", "rms of dy", "rms of gradients")]
    for row in call_rows(trace):
        y, dy = row["y"], row["dy"]
        grads = "  ".join(f"{name} {brief(gradient['rms'], 2)}" for name, gradient in row["gradients"].items())
        table.append(
            (
                row["name"] or "network", row["layer"], "x".join(map(str, row["shape"])), brief(y["mean"], 3),
                brief(max(y["most"], y["least"], key=abs), 3), f"{100 * y['zero']:.0f} %",
                "-" if dy is None else brief(dy["rms"], 2), grads,
            )
        )  # fmt: skip
    output_values = example_outputs(trace, 0)
    columns = tuple(name for name in dict.fromkeys(("output", *OUTPUT_COLUMNS)) if name in output_values[0])
    rows = [
        tuple(brief(row[k]) if isinstance(row[k], float) else str(row[k]) for k in columns) for row in output_values
    ]
    examples_text, loss, tensors = heading_texts(trace)
    note = f"\n{trace.input_note}" if trace.input_note else ""
    return (
        f"{examples_text}: {loss}; {tensors}{note}\n\n{aligned(table, right=(3, 4, 5, 6))}\n\n"
        f"outputs of the first example, the largest |dy| first\n{aligned([columns, *rows], right=range(len(columns)))}"
    )


def trace_html(trace: TraceRecord) -> str:
    """Return each call with images of its output and its dy, and the outputs of the first example, as HTML."""
    from pellucid.report.page import render

    max_channels = MAX_MAPS if len(trace.calls) <= MAX_LAYERS else MAX_MAPS_DEEP
    maps = [
        (picture(call.y[0], max_channels), None if call.dys is None else picture(call.dys[0][0], max_channels))
        for call in trace.calls
    ]
    output_values = example_outputs(trace, 0)
    return render(
        "trace",
        heading=heading_texts(trace),
        input=picture(trace.passes.xs[0].tensor[0], MAX_MAPS),
        input_note=trace.input_note,
        calls=list(zip(call_rows(trace), maps, strict=True)),
        outputs=output_values[:5],
        keys=[
            name
            for name in OUTPUT_COLUMNS
            if name in output_values[0] and not (name == "output" and "class" in output_values[0])
        ],
        reach=max(abs(row["dy"]) for row in output_values),
        most=max_channels,
        brief=brief,
        bar=bar,
    )


def heading_texts(trace: TraceRecord) -> tuple[str, str, str]:
    """Return as text: the number of examples and the mode, the loss, and the number of tensors."""
    examples = len(trace.passes.ys[0].tensor)
    examples_text = "one example" if examples == 1 else f"{examples:,} examples"
    regularized = f" + {brief(trace.regularizer)} from regularizers" if trace.penalty_gradients else ""
    target_text = f", target {_target_names(trace)} ({trace.settings.chosen})" if trace.settings.chosen else ""
    return (
        f"{examples_text} in {trace.mode_name} mode{target_text}",
        f"loss {brief(trace.loss)}{regularized}",
        f"{len(trace.tensors)} tensors by name",
    )


def _target_names(trace: TraceRecord) -> str:
    """Return the classes of the first examples."""
    classes = trace.settings.classes
    numbers = trace.settings.target.flatten().tolist()
    names = [classes[int(k)] if classes else f"{k:g}" for k in numbers[:MAX_OUTPUTS]]
    return ", ".join(names) + (", ..." if len(numbers) > MAX_OUTPUTS else "")


def picture(tensor: Tensor, max_channels: int) -> Embedded | None:
    """Return one example (C, H, W) or (n,) as an image; None if it is empty or not finite.

    At most `max_channels` channels are drawn. Positive values are blue, negative values are ochre, 0 is transparent.
    """
    grid = _arrange_channels(tensor.double(), max_channels)
    max_abs = float(grid.abs().max()) if grid.numel() else 0.0
    if not grid.numel() or not math.isfinite(max_abs):
        return None
    levels = (grid / (max_abs or 1.0) * COLOUR_LEVELS).round().add(COLOUR_LEVELS).to(torch.uint8)
    image = Image.fromarray(levels.numpy())
    image.putpalette(PALETTE)
    scale = max(1.0, min(12, MAX_WIDTH / grid.shape[1], MAX_HEIGHT / grid.shape[0]))
    return Embedded(data_uri(image, transparency=ALPHAS), round(grid.shape[1] * scale), round(grid.shape[0] * scale))


def _arrange_channels(example: Tensor, max_channels: int) -> Tensor:
    """Arrange channels in rows of eight, one pixel apart, or the first 512 values of a vector in rows of 64."""
    if example.dim() != 3:
        flat = example.flatten()[: 64 * 8]
        width = min(64, max(1, len(flat)))
        return F.pad(flat, (0, -len(flat) % width)).view(-1, width)
    height, width = min(MAX_SIDE, example.shape[1]), min(MAX_SIDE, example.shape[2])
    maps = F.pad(F.adaptive_avg_pool2d(example[:max_channels], (height, width)), (0, 1, 0, 1))  # (C, H + 1, W + 1)
    per_row = min(8, len(maps))
    padded = F.pad(maps, (0, 0, 0, 0, 0, -len(maps) % per_row))
    rows = padded.view(-1, per_row, *maps.shape[1:]).permute(0, 2, 1, 3)  # (rows, H + 1, per_row, W + 1)
    return rows.reshape(-1, per_row * maps.shape[2])[:-1, :-1]
