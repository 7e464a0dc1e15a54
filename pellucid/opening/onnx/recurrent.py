"""Conversion of ONNX's recurrent operators to LSTM, GRU and RNN."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid import layers
from pellucid.opening.onnx.reading import NodeReading, Reader, derived_constant
from pellucid.opening.onnx.values import Unreadable, Value
from pellucid.opening.onnx_nodes.layers import GATE_ORDERS
from pellucid.operators import Permute, Select, Slice, Stack, ToShape

# Inputs of the operators: 0 sequence, 1 and 2 weights, 3 biases, 4 lengths, 5 and 6 initial states, 7 peepholes.
STATE_INPUTS = (5, 6)  # the initial output, and the initial memory
OUTPUTS = ("sequence", "state", "cell")
ACTIVATIONS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}  # the defaults


def recurrent(r: NodeReading) -> tuple[Value, ...]:
    """Read LSTM, GRU or RNN, whose sequences are (steps, N, values), with outputs (steps, directions, N, values)."""
    direction = r.attribute("direction", "forward")
    if direction not in ("forward", "bidirectional"):
        raise Unreadable(f"has direction={direction!r}")
    r.check_attributes(layout=0, input_forget=0)
    if r.node.op == "GRU":
        r.check_attributes(linear_before_reset=1)
    n_directions = 2 if direction == "bidirectional" else 1
    activations = r.attribute("activations", ACTIVATIONS[r.node.op] * n_directions)
    options: dict[str, Any] = {}
    if r.node.op == "RNN" and activations == ["Relu"] * n_directions:
        options["nonlinearity"] = "relu"
    elif activations != ACTIVATIONS[r.node.op] * n_directions:
        raise Unreadable(f"has activations={activations!r}")
    if r.has_input(4) or r.has_input(7):
        raise Unreadable("has lengths of the sequences, or peepholes")
    for index in STATE_INPUTS:
        if r.has_input(index) and not _is_zero(r.value(index)):
            raise Unreadable("has an initial state that is not 0")
    units = r.attribute("hidden_size", r.constant(2).shape[2])
    params = _params(r, n_directions)
    x = r.inner("steps", Permute((1, 0, 2)))
    used_outputs = [output for output, name in zip(OUTPUTS, r.node.outputs, strict=False) if name]
    if "cell" in used_outputs:
        raise Unreadable("has the memory after the last step as an output")
    layer_type: Any = getattr(layers, r.node.op)
    y = r.inner("units", layer_type(units, 1, n_directions == 2, r.has_input(3), **options), x, **params)
    results: list[Value] = []
    if "sequence" in used_outputs:
        parts = r.inner("directions", ToShape((n_directions, units), 2, 0), y)
        results.append(r.inner("outputs", Permute((1, 2, 0, 3)), parts))
    if "state" in used_outputs:
        results.append(_last_steps(r, y, units, n_directions))
    return tuple(results)


def _last_steps(r: NodeReading, y: Value, units: int, n_directions: int) -> Value:
    """Return the outputs (directions, N, H) of each direction's last step, the first one of the reverse direction."""
    steps: list[Value] = []
    for direction in range(n_directions):
        outputs = r.inner(f"part{direction}", Slice(2, direction * units, (direction + 1) * units), y)
        steps.append(r.inner(f"last{direction}", Select(1, 0 if direction else -1), outputs))
    if n_directions == 1:
        return r.inner("state", ToShape((1,), 0, 2), steps[0])
    return r.inner("state", Stack(0), *steps)


def _params(r: NodeReading, n_directions: int) -> dict[str, Value]:
    """Return the parameters of a recurrent node by name, with their gates in PyTorch's order."""
    params: dict[str, Value] = {}
    for direction, suffix in enumerate(("l0", "l0_reverse")[:n_directions]):
        for name, index in (("weight_ih", 1), ("weight_hh", 2)):
            params[f"{name}_{suffix}"] = _reordered(r, r.param(index), direction)
        if r.has_input(3):
            for half, name in enumerate(("bias_ih", "bias_hh")):
                params[f"{name}_{suffix}"] = _reordered(r, r.param(3), direction, half)
    return params


def _reordered(r: NodeReading, value: Value, direction: int, half: int | None = None) -> Value:
    """Return the rows of a direction with the gates in PyTorch's order. half: that of the biases, 0 or 1."""
    rows = value.tensors[0][direction]
    if half is not None:
        rows = rows.chunk(2)[half]
    return derived_constant(value, f"[{direction}, {half}]", _with_gates(rows, GATE_ORDERS[r.node.op]))


def _with_gates(rows: Tensor, order: Sequence[int]) -> Tensor:
    """Return rows in ONNX's order of gates in that of PyTorch."""
    gates = rows.view(len(order), -1, *rows.shape[1:])
    return torch.stack([gates[order.index(gate)] for gate in range(len(order))]).flatten(0, 1)


def _is_zero(value: Value) -> bool:
    """Return whether a known value, which may depend on the number of examples, is 0."""
    return value.is_known and not any(bool(tensor.any()) for tensor in value.tensors)


READERS: dict[str, Reader] = dict.fromkeys(ACTIVATIONS, recurrent)
