"""Any layer: its own backward pass of one-hot deltas gives its Jacobian, column by column."""

from typing import Any

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.probe import tensors
from pellucid.trace.calls import Call
from pellucid.trace.columns.base import Column, part_of, worked
from pellucid.tree import flatten, nest

MOST = 20_000  # backward passes for one number


def fallback(call: Call, what: str, place: int) -> Column:
    """Find the outputs that the number moves by halving, then each one's slope by a one-hot delta.

    A layer's backward is linear in dy: where the gradient of random deltas over a group of outputs is 0, none of them
    depends on the number. Raises PellucidError for a layer of several outputs or of too many that depend on it.
    """
    if len(call.outputs) != 1:
        raise PellucidError(
            f"{call.name or 'the network'}: {call.title} has several outputs; explain one of its inputs"
        )
    count = call.y.numel()
    draw = torch.rand(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.5
    asked = 0

    def ask(dy: Tensor) -> float:
        nonlocal asked
        asked += 1
        if asked > MOST:
            raise PellucidError(
                f"{call.name or 'the network'}: more than {MOST} outputs may depend on {what}; explain a smaller layer"
            )
        return float(slopes(call, dy.view(call.y.shape))[what].flatten()[place])

    found: list[tuple[int, float]] = []
    groups = [(0, count)]
    while groups:
        low, high = groups.pop()
        dy = torch.zeros(count, dtype=call.y.dtype)
        dy[low:high] = draw[low:high].to(call.y.dtype) if high - low > 1 else 1.0
        slope = ask(dy)
        if slope != 0 and high - low == 1:
            found.append((low, slope))
        elif slope != 0:
            middle = (low + high) // 2
            groups += [(low, middle), (middle, high)]
    found.sort()
    values = torch.tensor([slope for _, slope in found], dtype=torch.float64)
    return Column(
        torch.tensor([output for output, _ in found], dtype=torch.int64),
        (worked(values, "∂y/∂x" if part_of(what) is not None else f"∂y/∂{what}", "slope"),),
        f"{call.title} says by its own backward pass how steeply each of {len(found)} outputs follows",
        r"\frac{\partial C}{\partial u} = \sum_o \delta_o\, \frac{\partial y_o}{\partial u}",
    )


def slopes(call: Call, dy: Any) -> dict[str, Tensor]:
    """Return what the layer's backward makes of `dy`: "x.0", "x.1" ... and each parameter's gradient by its name."""
    dx, dparams = call.layer.backward(nested(call), call.cache, dy)
    parts = {f"x.{part}": one for part, one in enumerate(tensors(dx)) if one is not None}
    return {**parts, **flatten(dparams)}


def nested(call: Call) -> dict[str, object]:
    """Return the call's parameters as its layer takes them."""
    tree: dict[str, object] = {}
    for path in call.params:
        here = tree
        *above, name = path.split(".")
        for step in above:
            deeper = here.setdefault(step, {})
            assert isinstance(deeper, dict)
            here = deeper
        here[name] = None
    return nest(tree, call.params)
