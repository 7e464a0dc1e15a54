"""A trace in short: one row for each call, and the loss with its pieces for one example."""

from typing import Any

from torch import Tensor

from pellucid.combine.base import join
from pellucid.trace.record import Trace
from pellucid.trace.spread import spread

SHOWN = 10  # outputs of an example


def overview(trace: Trace) -> dict[str, Any]:
    """Return the loss, its pieces, each call in numbers, and the names of all tensors, as plain values."""
    regularizer = {"regularizer": trace.regularizer, "cost": trace.cost} if trace.penalties else {}
    return {
        "loss": trace.loss,
        **regularizer,
        "training": trace.settings.train,
        "dtype": str(trace.dtype).removeprefix("torch."),
        "examples": [outputs(trace, row) for row in range(len(trace.passes.ys[0].tensor))],
        "calls": rows(trace),
        "tensors": [
            {"name": one.name, "kind": one.kind, "path": one.path, "shape": list(one.tensor.shape)}
            for one in trace.tensors.values()
        ],
    }


def rows(trace: Trace) -> list[dict[str, Any]]:
    """Return each call's layer, shapes, and how large what goes forward and what comes back is."""
    found: list[dict[str, Any]] = []
    for call in trace.calls:
        gradients = {f"d{name}": spread(gradient) for name, gradient in call.dparams.items()}
        found.append(
            {
                "name": call.name,
                "path": call.path,
                "layer": call.title,
                "inputs": [trace.name_of(value) for value in call.inputs],
                "shape": list(call.y.shape),
                "y": spread(call.y),
                "dy": None if call.dys is None else spread(call.dys[0]),
                "gradients": gradients,
                "parameters": {
                    join(call.path, name): list(value.shape)
                    for name, value in call.params.items()
                    if name in call.dparams
                },
            }
        )
    return found


def outputs(trace: Trace, row: int) -> list[dict[str, Any]]:
    """Return the outputs of one example: name, y, probability, target and dy, the largest |dy| first, ten at most."""
    y, dy = trace.passes.ys[0].tensor, trace.output_delta(0)
    named = trace.pieces[0].named
    columns: dict[str, Tensor] = {
        "y": y,
        "probability": named.get("probabilities", y),
        "target": named.get("targets", y),
    }
    if "probabilities" not in named:
        del columns["probability"]
    if "targets" not in named:
        del columns["target"]
    columns["dy"] = dy
    flat = {name: tensor[row].flatten() for name, tensor in columns.items()}
    order = flat["dy"].abs().argsort(descending=True, stable=True)[:SHOWN]
    classes = trace.settings.classes if y.dim() == 2 and len(trace.settings.classes) == y.shape[1] else ()
    return [
        {
            "output": int(k),
            **({"class": classes[int(k)]} if classes else {}),
            **{name: float(values[k]) for name, values in flat.items()},
        }
        for k in order
    ]
