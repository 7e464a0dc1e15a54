"""How an activation came about: which inputs made it, and how steeply it follows each."""

import torch

from pellucid.trace.calls import Call, Value
from pellucid.trace.columns.base import at, exact_sum
from pellucid.trace.columns.fallback import slopes
from pellucid.trace.columns.table import WEIGHTED_SUMS
from pellucid.trace.explanation import Made, Part
from pellucid.trace.names import label
from pellucid.trace.record import Trace


def made_of(trace: Trace, value: Value, place: int, top: int | None) -> Made:
    """Ask the backward pass of the layer that made it for a one-hot delta: one row of the layer's Jacobian."""
    call = value.maker
    assert call is not None
    dy = torch.zeros_like(value.tensor, memory_format=torch.contiguous_format)
    dy.view(-1)[place] = 1
    with torch.no_grad():
        row = slopes(call, dy if len(call.outputs) == 1 else _one_part(call, value, dy))
    parts: list[Part] = []
    products: list[float] = []
    for number, source in enumerate(call.inputs):
        slope = row.get(f"x.{number}")
        if slope is None:
            continue
        where = slope.flatten().nonzero().flatten()
        values, steep = at(source.tensor, where), at(slope, where)
        products += (values * steep).tolist()
        names = (label(trace.name_of(source), k, source.tensor.shape) for k in where.tolist())
        parts += [Part(*one) for one in zip(names, values.tolist(), steep.tolist(), strict=True)]
    linear = type(call.layer) in WEIGHTED_SUMS
    size = [abs(one) for one in products] if linear else [abs(part.slope) for part in parts]
    order = sorted(range(len(parts)), key=lambda k: -size[k])
    kept = order if top is None else order[:top]
    made = float(value.tensor.flatten()[place])
    constant = 0.0
    if linear:
        bias = row.get("bias")
        constant = made if not parts else 0.0 if bias is None else float((bias * call.params["bias"]).sum())
    words = WEIGHTED_SUMS.get(type(call.layer), "how steeply it follows each of its inputs")
    return Made(
        call.name or "the network", call.title, words, made, tuple(parts[k] for k in kept), len(parts),
        exact_sum([products[k] for k in order[len(kept) :]]) if linear else 0.0, linear, constant,
    )  # fmt: skip


def _one_part(call: Call, value: Value, dy: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return zeros for the call's other outputs."""
    return tuple(dy if one is value else torch.zeros_like(one.tensor) for one in call.outputs)
