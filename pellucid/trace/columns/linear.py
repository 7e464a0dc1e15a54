"""Columns of the Jacobians of dense layers, convolutions and attention."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.text import plural
from pellucid.layers import Conv2d, ConvTranspose2d
from pellucid.layers.base import pair
from pellucid.operators import Attention
from pellucid.trace.columns.base import (
    JacobianColumn,
    argument_factors,
    computed_factors,
    fallback,
    flat_indices,
    input_index,
)
from pellucid.trace.passes import LayerCall
from pellucid.trace.text import unravel_index


def dense(call: LayerCall, argument: str, index: int) -> JacobianColumn:
    """y[n, u] = Σ_j w[u, j] x[n, j] + b[u]: Nielsen 2015, BP2 for an input, BP4 for a weight, BP3 for a bias."""
    n_in = call.x.shape[-1]
    n_units = call.y.shape[-1]
    example_rows = torch.arange(call.x.numel() // n_in)
    batch_words = ", summed over the examples" if len(example_rows) > 1 else ""
    if argument == "weight":
        unit, j = divmod(index, n_in)
        words = f"a weight multiplies an activation: the gradient δ of unit {unit} times input {j}{batch_words} (BP4)"
        formula = r"\frac{\partial C}{\partial w_{uj}} = \sum_n \delta_{nu}\, x_{nj}"
        return JacobianColumn(
            example_rows * n_units + unit,
            (argument_factors(call, "x.0", example_rows * n_in + j, "x", "activation"),),
            words,
            formula,
        )
    if argument == "bias":
        words = f"a bias is added to its unit: the gradient δ of unit {index}{batch_words} (BP3)"
        return JacobianColumn(
            example_rows * n_units + index, (), words, r"\frac{\partial C}{\partial b_u} = \sum_n \delta_{nu}"
        )
    row, j = divmod(index, n_in)
    unit = torch.arange(n_units)
    words = f"all {n_units} units depend on input {j}: each unit's gradient δ times its weight (BP2)"
    formula = r"\frac{\partial C}{\partial x_{nj}} = \sum_u \delta_{nu}\, w_{uj}"
    return JacobianColumn(
        row * n_units + unit, (argument_factors(call, "weight", unit * n_in + j, "w", "weight"),), words, formula
    )


def convolution(call: LayerCall, argument: str, index: int) -> JacobianColumn:
    """Return the column of Conv2d or ConvTranspose2d.

    A weight w[f, c, a, b] connects the window (f, p, q) with the pixel (c, ps + ad - t, qs + bd - l), for stride s,
    dilation d, and paddings t at the top and l on the left. The input of a convolution is pixels and its output
    windows; for a transposed convolution it is the reverse.
    """
    layer = call.layer
    assert isinstance(layer, Conv2d | ConvTranspose2d)
    if argument == "bias":
        n_examples, _, rows, columns = call.y.shape
        outputs = flat_indices(call.y.shape, torch.arange(n_examples), index, torch.arange(rows), torch.arange(columns))
        words = f"a bias is added to every position of its channel: the sum of the gradients δ of channel {index}"
        return JacobianColumn(outputs, (), words, r"\frac{\partial C}{\partial b_f} = \sum_{n,p,q} \delta_{nfpq}")
    transposed = isinstance(layer, ConvTranspose2d)
    kernel = call.params["weight"].shape
    image, windows = (call.y, call.x) if transposed else (call.x, call.y)
    pixels_of_taps = _pixels(layer, image, windows, kernel)  # (taps, windows)
    n_taps, n_windows, n_pixels = *pixels_of_taps.shape, image.shape[2] * image.shape[3]
    n_examples, n_filters = windows.shape[:2]
    n_channels = image.shape[1]
    channels_per_group = kernel[1]
    filters_per_group = n_filters // layer.groups
    if argument == "weight":
        f, c, tap = unravel_index(index, (*kernel[:2], n_taps))
        window = (pixels_of_taps[tap] >= 0).nonzero().flatten()
        channel = f // filters_per_group * channels_per_group + c
        examples = torch.arange(n_examples)
        at_windows = flat_indices((n_examples, n_filters, n_windows), examples, f, window)
        at_pixels = flat_indices((n_examples, n_channels, n_pixels), examples, channel, pixels_of_taps[tap][window])
        out_channel, outputs, in_channel = (channel, at_pixels, f) if transposed else (f, at_windows, channel)
        return JacobianColumn(
            outputs,
            (argument_factors(call, "x.0", at_windows if transposed else at_pixels, "x", "activation"),),
            f"this weight of output channel {out_channel} is used at {plural(len(window), 'position')}: at each, the "
            "gradient δ of the "
            f"output times the value of input channel {in_channel} that the weight multiplies",
            r"\frac{\partial C}{\partial w_{fcab}} = \sum_{n,p,q} \delta_{nfpq}\, x_{n,c,\,ps+ad-t,\,qs+bd-l}"
            if not transposed
            else r"\frac{\partial C}{\partial w_{cfab}} = \sum_{n,p,q} \delta_{n,f,\,ps+ad-t,\,qs+bd-l}\, x_{ncpq}",
        )
    if transposed:
        n, f, window = unravel_index(index, (n_examples, n_filters, n_windows))
        tap = (pixels_of_taps[:, window] >= 0).nonzero().flatten()
        c = torch.arange(channels_per_group)[:, None]
        outputs = (n * n_channels + f // filters_per_group * channels_per_group + c) * n_pixels + pixels_of_taps[
            tap, window
        ]
        words = "each output that this value's kernel covers, in each channel: its gradient δ times the weight there"
        formula = r"\frac{\partial C}{\partial x_{ncpq}} = \sum_{f,a,b} \delta_{n,f,\,ps+ad-t,\,qs+bd-l}\, w_{cfab}"
    else:
        n, channel, pixel = unravel_index(index, (n_examples, n_channels, n_pixels))
        tap, window = (pixels_of_taps == pixel).nonzero(as_tuple=True)
        c = channel % channels_per_group
        f = channel // channels_per_group * filters_per_group + torch.arange(filters_per_group)[:, None]
        outputs = (n * n_filters + f) * n_windows + window
        words = "each window that contains this value, in each channel: its gradient δ times the weight there"
        formula = (
            r"\frac{\partial C}{\partial x_{nchw}} = \sum_{f,a,b} "
            r"\delta_{nf,\frac{h+t-ad}{s},\frac{w+l-bd}{s}}\, w_{fcab}"
        )
    weights = ((f * channels_per_group + c) * n_taps + tap).flatten()
    words = words if len(weights) else "no output depends on this value: its gradient is 0"
    return JacobianColumn(
        outputs.flatten(), (argument_factors(call, "weight", weights, "w", "weight"),), words, formula
    )


def _pixels(layer: Conv2d | ConvTranspose2d, image: Tensor, windows: Tensor, kernel: torch.Size) -> Tensor:
    """Return (taps, windows): flat index of the pixel under each kernel tap of each window, -1 in the padding."""
    height, width = image.shape[2:]
    if isinstance(layer, Conv2d):
        edges = layer.edges()
    else:
        rows, columns = pair(layer.padding)
        edges = (columns, columns, rows, rows)
    indices = F.pad(torch.arange(1, height * width + 1, dtype=torch.float64).view(1, 1, height, width), edges)
    stride, dilation = pair(layer.stride), pair(layer.dilation)
    columns_of_windows = (indices.shape[3] - dilation[1] * (kernel[3] - 1) - 1) // stride[1] + 1
    pixels = F.unfold(indices, tuple(kernel[2:]), dilation, 0, stride)[0].long() - 1
    # With output_padding, unfold may find more windows than a transposed convolution has.
    return pixels.unflatten(1, (-1, columns_of_windows))[:, : windows.shape[2], : windows.shape[3]].flatten(1)


QUERIES, KEYS, VALUES = 0, 1, 2  # indices of the inputs


def attention(call: LayerCall, argument: str, index: int) -> JacobianColumn:
    """Return the column of an element of the queries q, the keys k or the values v; other inputs use `fallback`.

    With scores a = s q kᵀ, weights p = softmax(a) and y = p v: the value v[j, e] has the slope p[i, j] in y[i, e]; a
    score a[i, j] has the slope p[i, j] (v[j, e] - y[i, e]) in y[i, e], and itself the slopes s k[j, c] with respect to
    q[i, c] and s q[i, c] with respect to k[j, c]. With dropout of the weights, whose factors are m, y = (m p) v: the
    value has the slope m[i, j] p[i, j], the score p[i, j] (m[i, j] v[j, e] - y[i, e]).
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
    m = call.cache.drop(torch.ones_like(call.cache.weights))[example].double()
    scale = 1 / math.sqrt(q.shape[-1]) if layer.scale is None else layer.scale
    rows, columns = torch.arange(len(q)), torch.arange(v.shape[-1])
    if input_number == VALUES:
        columns = columns[column : column + 1]
        slope = (m * p)[:, row : row + 1]  # (T, 1)
    elif input_number == KEYS:
        slope = scale * (p[:, row] * q[:, column])[:, None] * (m[:, row, None] * v[row] - y)  # (T, d')
    else:
        rows = rows[row : row + 1]
        slope = scale * (p[row] * k[:, column]) @ (m[row, :, None] * v - y[row])  # (d',)
    outputs = flat_indices(call.y.shape, *batch, rows, columns)
    is_used = slope.flatten() != 0
    values = slope.flatten()[is_used]
    return JacobianColumn(
        outputs[is_used],
        (computed_factors(values, "∂y/∂x", "slope"),),
        f"attention: the slope of each of {plural(len(values), 'output')}, from the weights p of the keys and "
        f"the values v{'' if call.cache.dropout is None else ', with the factors of dropout'}",
        r"\frac{\partial C}{\partial u} = \sum_o \delta_o\, \frac{\partial y_o}{\partial u}",
    )
