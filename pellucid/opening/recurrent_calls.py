"""Translation of PyTorch's recurrent operators to LSTM, GRU and RNN."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pellucid import operators
from pellucid.base.text import note_once
from pellucid.layers import GRU, LSTM, RNN
from pellucid.layers.base import Layer
from pellucid.opening.exported import Ref
from pellucid.opening.values import CallLayer, Context, Unsupported

RECURRENT_LAYERS: dict[str, Callable[..., Layer]] = {
    "lstm": LSTM,
    "gru": GRU,
    "rnn_tanh": RNN,
    "rnn_relu": partial(RNN, nonlinearity="relu"),
}


def recurrent_output(c: Context, index: int, varying_constants: Mapping[str, tuple[Any, Any]]) -> CallLayer:
    """Return the layers of an output of a recurrent operator: 0 for the sequence, 1 for the state, 2 for the memory.

    varying_constants: constants that depend on the number of examples. Raises Unsupported for an initial state other
    than 0, projections, and for weights that are shared or computed.
    """
    if len(c.shape("input")) != 3:
        raise Unsupported(f"{c.call.op} of an input without a batch axis")
    levels = c["num_layers"]
    if c["dropout"] and levels > 1:
        note_once(
            f"open: {c.call.module} has no dropout between its levels in training, where PyTorch has {c['dropout']}"
        )
    initial = c["hx"] if isinstance(c["hx"], tuple) else (c["hx"],)
    if not all(_is_zero(state.name, c, varying_constants) for state in initial):
        raise Unsupported(f"{c.call.op} with an initial state that is not 0")
    own_params = _own_params(c)
    n_directions = 2 if c["bidirectional"] else 1
    n_params = 4 if c["has_biases"] else 2  # weights of the input and of the state, and a bias of each
    if len(own_params) != levels * n_directions * n_params:
        raise Unsupported(f"{c.call.op} with projections of its state")
    units = c.shapes[c["params"][1].name][1]  # of weight_hh_l0, (G H, H)
    is_last_step = index == 1 and levels == 1  # the state is in the sequence
    output = "sequence" if index == 0 or is_last_step else ("state", "cell")[index - 1]
    layer = RECURRENT_LAYERS[c.call.op](units, levels, c["bidirectional"], c["has_biases"], output)
    source: str | CallLayer = c.source("input")
    if not c["batch_first"]:
        source = CallLayer(operators.Permute((1, 0, 2)), (source,))
    result = CallLayer(layer, (source,), own_params)
    if is_last_step:
        return _last_steps(result, units, n_directions)
    if index or c["batch_first"]:
        return result
    return CallLayer(operators.Permute((1, 0, 2)), (result,))


def _last_steps(sequence: CallLayer, units: int, n_directions: int) -> CallLayer:
    """Return the outputs (directions, N, H) of each direction's last step, the first one of the reverse direction."""
    if n_directions == 1:
        return CallLayer(operators.ToShape((1,), 0, 2), (CallLayer(operators.Select(1, -1), (sequence,)),))
    forward, reverse = (
        CallLayer(operators.Select(1, step), (CallLayer(operators.Slice(2, start, start + units), (sequence,)),))
        for step, start in ((-1, 0), (0, units))
    )
    return CallLayer(operators.Stack(0), (forward, reverse))


def _is_zero(name: str, c: Context, varying_constants: Mapping[str, tuple[Any, Any]]) -> bool:
    """Return whether a value is a constant of zeros."""
    values = varying_constants.get(name, (c.constants.get(name),))
    return all(isinstance(value, Tensor) and not bool(torch.any(value != 0)) for value in values)


def _own_params(c: Context) -> dict[str, str]:
    """Return the names in the export of the parameters, by their names in the calling module."""
    prefix = f"{c.call.module}." if c.call.module else ""
    names: dict[str, str] = {}
    for ref in c["params"]:
        key = c.keys.get(ref.name, "") if isinstance(ref, Ref) else ""
        if not key.startswith(prefix) or "." in key.removeprefix(prefix):
            raise Unsupported(f"{c.call.op} with weights that are shared or computed")
        names[key.removeprefix(prefix)] = ref.name
    return names
