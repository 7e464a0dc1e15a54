"""The overview of a trace: a row for each call, and the outputs of each example, as values, text and HTML."""

import base64
import io
import math
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from pellucid.combine.base import join
from pellucid.text import aligned
from pellucid.trace.record import TraceRecord
from pellucid.trace.text import bar, brief

MAX_OUTPUTS = 10  # of an example; and examples whose targets the heading names
COLUMNS = ("class", "output", "y", "probability", "target", "dy")  # of the table of an example's outputs
MAX_MAPS, MAX_MAPS_DEEP = 16, 8  # channels shown per layer in HTML; the second for networks with more layers
MAX_LAYERS = 40  # with MAX_MAPS channels each
MAX_SIDE = 32  # pixels per side of one channel; larger channels are average-pooled
ABOVE, BELOW = (234, 88, 12), (37, 99, 235)  # positive, negative values; distinguishable for colour-blind readers
WIDTH, HEIGHT = 250, 96  # approximate maximum size of an image on the page, in pixels
LEVELS = 31  # of each colour; the palette's index LEVELS is the value 0
PALETTE = bytes(value for level in range(-LEVELS, LEVELS + 1) for value in (ABOVE if level > 0 else BELOW))
ALPHAS = bytes(round(255 * math.sqrt(abs(level) / LEVELS)) for level in range(-LEVELS, LEVELS + 1))


class PagePicture(NamedTuple):
    """An image for a page: a data URL, and its size on the page in pixels."""

    src: str
    width: int
    height: int


def overview(trace: TraceRecord) -> dict[str, Any]:
    """Return the loss, the outputs of each example, statistics of each call, and all tensor names, as JSON values."""
    regularizer = {"regularizer": trace.regularizer, "cost": trace.cost} if trace.penalties else {}
    return {
        "loss": trace.loss,
        **regularizer,
        "training": trace.settings.train,
        "dtype": trace.dtype_name,
        "examples": [outputs(trace, row) for row in range(len(trace.passes.ys[0].tensor))],
        "calls": rows(trace),
        "tensors": [
            {"name": entry.name, "kind": entry.kind, "path": entry.path, "shape": list(entry.tensor.shape)}
            for entry in trace.tensors.values()
        ],
    }


def rows(trace: TraceRecord) -> list[dict[str, Any]]:
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


def outputs(trace: TraceRecord, row: int) -> list[dict[str, Any]]:
    """Return up to MAX_OUTPUTS outputs of an example, largest |dy| first: class, index, y, probability, target, dy."""
    y, named = trace.passes.ys[0].tensor, trace.pieces[0].named
    columns = {"y": y, "probability": named.get("probabilities"), "target": named.get("targets")}
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
    for row in rows(trace):
        y, dy = row["y"], row["dy"]
        grads = "  ".join(f"{name} {brief(gradient['rms'], 2)}" for name, gradient in row["gradients"].items())
        table.append(
            (
                row["name"] or "network", row["layer"], "x".join(map(str, row["shape"])), brief(y["mean"], 3),
                brief(max(y["most"], y["least"], key=abs), 3), f"{100 * y['zero']:.0f} %",
                "-" if dy is None else brief(dy["rms"], 2), grads,
            )
        )  # fmt: skip
    output_values = outputs(trace, 0)
    head = tuple(name for name in dict.fromkeys(("output", *COLUMNS)) if name in output_values[0])
    cells = [tuple(brief(row[k]) if isinstance(row[k], float) else str(row[k]) for k in head) for row in output_values]
    about, loss, tensors = heading(trace)
    return (
        f"{about}: {loss}; {tensors}\n\n{aligned(table, right=(3, 4, 5, 6))}\n\n"
        f"outputs of the first example, the largest |dy| first\n{aligned([head, *cells], right=range(len(head)))}"
    )


def trace_html(trace: TraceRecord) -> str:
    """Return each call with images of its output and its dy, and the outputs of the first example, as HTML."""
    from pellucid.report.page import render

    most = MAX_MAPS if len(trace.calls) <= MAX_LAYERS else MAX_MAPS_DEEP
    maps = [
        (picture(call.y[0], most), None if call.dys is None else picture(call.dys[0][0], most)) for call in trace.calls
    ]
    output_values = outputs(trace, 0)
    return render(
        "trace",
        heading=heading(trace),
        input=picture(trace.passes.xs[0].tensor[0], MAX_MAPS),
        calls=list(zip(rows(trace), maps, strict=True)),
        outputs=output_values[:5],
        keys=[
            name
            for name in COLUMNS
            if name in output_values[0] and not (name == "output" and "class" in output_values[0])
        ],
        reach=max(abs(row["dy"]) for row in output_values),
        most=most,
        brief=brief,
        bar=bar,
    )


def heading(trace: TraceRecord) -> tuple[str, str, str]:
    """Return as text: the number of examples and the mode, the loss, and the number of tensors."""
    examples = len(trace.passes.ys[0].tensor)
    examples_text = f"{examples} examples" if examples > 1 else "one example"
    regularized = f" + {brief(trace.regularizer)} from regularizers" if trace.penalties else ""
    mode = "training" if trace.settings.train else "evaluation"
    chosen = f", target {_targets(trace)} ({trace.settings.chosen})" if trace.settings.chosen else ""
    return (
        f"{examples_text} in {mode}{chosen}",
        f"loss {brief(trace.loss)}{regularized}",
        f"{len(trace.tensors)} tensors by name",
    )


def _targets(trace: TraceRecord) -> str:
    """Return the classes of the first examples."""
    classes, numbers = trace.settings.classes, trace.settings.target.flatten().tolist()
    names = [classes[int(k)] if classes else f"{k:g}" for k in numbers[:MAX_OUTPUTS]]
    return ", ".join(names) + (", ..." if len(numbers) > MAX_OUTPUTS else "")


def picture(tensor: Tensor, most: int) -> PagePicture | None:
    """Return one example (C, H, W) or (n,) as an image of at most `most` channels, or None if empty or not finite.

    Positive values are orange, negative values are blue, 0 is transparent.
    """
    grid = _grid(tensor.double(), most)
    reach = float(grid.abs().max()) if grid.numel() else 0.0
    if not grid.numel() or not math.isfinite(reach):
        return None
    levels = (grid / (reach or 1.0) * LEVELS).round().add(LEVELS).to(torch.uint8)
    image = Image.fromarray(levels.numpy())
    image.putpalette(PALETTE)
    file = io.BytesIO()
    image.save(file, "PNG", transparency=ALPHAS)
    data = base64.b64encode(file.getvalue()).decode()
    scale = max(1.0, min(12, WIDTH / grid.shape[1], HEIGHT / grid.shape[0]))
    return PagePicture(f"data:image/png;base64,{data}", round(grid.shape[1] * scale), round(grid.shape[0] * scale))


def _grid(example: Tensor, most: int) -> Tensor:
    """Arrange channels in rows of eight, one pixel apart, or the first 512 values of a vector in rows of 64."""
    if example.dim() != 3:
        flat = example.flatten()[: 64 * 8]
        width = min(64, max(1, len(flat)))
        return F.pad(flat, (0, -len(flat) % width)).view(-1, width)
    height, width = min(MAX_SIDE, example.shape[1]), min(MAX_SIDE, example.shape[2])
    maps = F.pad(F.adaptive_avg_pool2d(example[:most], (height, width)), (0, 1, 0, 1))  # (C, H + 1, W + 1)
    across = min(8, len(maps))
    full = F.pad(maps, (0, 0, 0, 0, 0, -len(maps) % across))
    rows = full.view(-1, across, *maps.shape[1:]).permute(0, 2, 1, 3)  # (rows, H + 1, across, W + 1)
    return rows.reshape(-1, across * maps.shape[2])[:-1, :-1]
