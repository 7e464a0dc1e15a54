"""Columns of attention: the effect of one number of the queries, keys or values on the outputs."""

import math

import torch

from pellucid.base.text import plural
from pellucid.operators import Attention
from pellucid.trace.columns.base import Column, computed_factors, fallback, flat_indices, input_index
from pellucid.trace.passes import LayerCall

QUERIES, KEYS, VALUES = 0, 1, 2  # indices of the inputs


def attention(call: LayerCall, argument: str, index: int) -> Column:
    """Return the column of an element of the queries q, the keys k or the values v; other inputs use `fallback`.

    With scores a = s q kᵀ, weights p = softmax(a) and y = p v: the value v[j, e] has the slope p[i, j] in y[i, e]; a
    score a[i, j] has the slope p[i, j] (v[j, e] - y[i, e]) in y[i, e], and itself the slopes s k[j, c] with respect to
    q[i, c] and s q[i, c] with respect to k[j, c].
    """
    input_number = input_index(argument)
    layer = call.layer
    xs = [value.tensor for value in call.inputs[:3]]
    has_one_batch = len({x.shape[:-2] for x in xs}) == 1  # otherwise inputs are broadcast
    if input_number not in (QUERIES, KEYS, VALUES) or not has_one_batch or not isinstance(layer, Attention):
        return fallback(call, argument, index)
    *batch, row, column = map(int, torch.unravel_index(torch.tensor(index), xs[input_number].shape))
    example = tuple(batch)
    q, k, v = (x[example].double() for x in xs)
    p, y = call.cache.weights[example].double(), call.y[example].double()
    scale = 1 / math.sqrt(q.shape[-1]) if layer.scale is None else layer.scale
    rows, columns = torch.arange(len(q)), torch.arange(v.shape[-1])
    if input_number == VALUES:
        columns = columns[column : column + 1]
        slope = p[:, row : row + 1]  # (T, 1)
    elif input_number == KEYS:
        slope = scale * (p[:, row] * q[:, column])[:, None] * (v[row] - y)  # (T, d')
    else:
        rows = rows[row : row + 1]
        slope = scale * (p[row] * k[:, column]) @ (v - y[row])  # (d',)
    outputs = flat_indices(call.y.shape, *batch, rows, columns)
    is_used = slope.flatten() != 0
    values = slope.flatten()[is_used]
    return Column(
        outputs[is_used],
        (computed_factors(values, "∂y/∂x", "slope"),),
        f"attention: the slope of each of {plural(len(values), 'output')}, from the weights p of the keys and "
        "the values v",
        r"\frac{\partial C}{\partial u} = \sum_o \delta_o\, \frac{\partial y_o}{\partial u}",
    )
