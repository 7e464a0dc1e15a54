"""Columns of the Jacobians of layers that copy, average, pool or merge values."""

import torch

from pellucid.base.text import plural
from pellucid.layers import Concat, LpPool2d
from pellucid.layers.base import Mode
from pellucid.trace.columns.base import (
    Explainer,
    JacobianColumn,
    argument_factors,
    computed_factors,
    elements,
    flat_indices,
    index_tensor,
    input_index,
)
from pellucid.trace.passes import LayerCall
from pellucid.trace.text import unravel_index

UNCHANGED_FORMULA = r"\frac{\partial C}{\partial x} = \delta"
NOT_DIFFERENTIATED = "a region only selects positions: its gradient is defined as 0"
COPIED_WORDS = "it is copied to the output: the output gradient δ passes unchanged"
LINEAR_FORMULA = r"\frac{\partial C}{\partial x_i} = \sum_o \delta_o\, k_{oi}"


def linear_map(words: str) -> Explainer:
    """Return the Explainer of a layer without parameters that is affine in its single input."""

    def explain(call: LayerCall, argument: str, index: int) -> JacobianColumn:
        zeros = torch.zeros_like(call.x, memory_format=torch.contiguous_format)
        constant = call.layer.forward(call.params, zeros, Mode())[0].flatten()
        one_hot = zeros.clone()
        one_hot.view(-1)[index] = 1
        column = call.layer.forward(call.params, one_hot, Mode())[0].flatten() - constant
        outputs = column.nonzero().flatten()
        weights = column[outputs].double()
        factors = () if bool((weights == 1).all()) else (computed_factors(weights, "share", "share"),)
        return JacobianColumn(outputs, factors, words if len(outputs) else "no output depends on it", LINEAR_FORMULA)

    return explain


def add(call: LayerCall, argument: str, index: int) -> JacobianColumn:
    """Return the column of one input of a sum."""
    return JacobianColumn(
        index_tensor(index), (), "a sum passes its output gradient δ unchanged to each input", UNCHANGED_FORMULA
    )


def concat(call: LayerCall, argument: str, index: int) -> JacobianColumn:
    """Return the column of an input of Concat, which is copied to one part of the output."""
    input_number = input_index(argument)
    assert input_number is not None
    assert isinstance(call.layer, Concat)
    axis = call.layer.axis
    position = list(unravel_index(index, call.inputs[input_number].tensor.shape))
    position[axis] += sum(value.tensor.shape[axis] for value in call.inputs[:input_number])
    return JacobianColumn(flat_indices(call.y.shape, *position), (), COPIED_WORDS, UNCHANGED_FORMULA)


def crop(call: LayerCall, argument: str, index: int) -> JacobianColumn:
    """Return the column of a pixel: in the first input, it is copied or cut off; in the second, it has no effect."""
    position = unravel_index(index, call.inputs[0].tensor.shape)
    if input_index(argument) == 1:
        return JacobianColumn(index_tensor(0)[:0], (), "only its size is used: its gradient is 0", "0")
    is_inside = all(k < size for k, size in zip(position[2:], call.y.shape[2:], strict=True))
    words = COPIED_WORDS if is_inside else "it is cropped away: its gradient is 0"
    return JacobianColumn(
        flat_indices(call.y.shape, *position) if is_inside else index_tensor(0)[:0],
        (),
        words,
        UNCHANGED_FORMULA if is_inside else "0",
    )


def multiply(call: LayerCall, argument: str, index: int) -> JacobianColumn:
    """Return the column of an input of Multiply: the product of the others, at each output that it is broadcast to."""
    input_number = input_index(argument)
    assert input_number is not None
    shape = call.y.shape
    position = unravel_index(index, call.inputs[input_number].tensor.shape)
    axis_sizes = zip(position, call.inputs[input_number].tensor.shape, shape, strict=True)
    axis_indices = [torch.arange(full) if size != full else torch.tensor([k]) for k, size, full in axis_sizes]
    outputs = flat_indices(shape, *axis_indices)
    factors = []
    for other_number, value in enumerate(call.inputs):
        if other_number != input_number:
            indices = torch.arange(value.tensor.numel()).view(value.tensor.shape).expand(shape).flatten()
            factors.append(
                argument_factors(call, f"x.{other_number}", indices[outputs], f"x{other_number + 1}", "activation")
            )
    words = "the output gradient δ times the product of the other inputs"
    return JacobianColumn(
        outputs, tuple(factors), words, r"\frac{\partial C}{\partial x_k} = \sum \delta \prod_{l \neq k} x_l"
    )


def max_pool2d(call: LayerCall, argument: str, index: int) -> JacobianColumn:
    """Return the column of a pixel: 1 for each window of which it is the maximum."""
    plane_size = call.x.shape[2] * call.x.shape[3]
    channel, pixel = divmod(index, plane_size)  # channel: flat index over (N, C)
    switches = call.cache.switches.flatten(2).flatten(0, 1)  # (N C, H' W')
    windows = (switches[channel] == pixel).nonzero().flatten()
    words_by_count = {
        0: "it was not the maximum of any window: its gradient is 0",
        1: "it was the maximum of its window",
    }
    words = words_by_count.get(len(windows), f"it was the maximum of {len(windows)} windows: their gradients δ add up")
    formula = r"\frac{\partial C}{\partial x_i} = \sum_{o:\, \text{switch}(o) = i} \delta_o"
    return JacobianColumn(channel * switches.shape[1] + windows, (), words, formula)


def max_unpool2d(call: LayerCall, argument: str, index: int) -> JacobianColumn:
    """Return the column of a value, which is copied to the position that its switch contains."""
    y_plane_size = call.y.shape[2] * call.y.shape[3]
    plane_size = call.x.shape[2] * call.x.shape[3]
    if argument == "x.1":
        return JacobianColumn(index_tensor(0)[:0], (), "a switch is an index: it has no gradient", "0")
    switch = int(call.cache.switches.flatten()[index])
    words = "it was copied to the position of the maximum: the output gradient δ there"
    formula = r"\frac{\partial C}{\partial x_i} = \delta_{\text{switch}(i)}"
    return JacobianColumn(index_tensor(index // plane_size * y_plane_size + switch), (), words, formula)


def roi_align(call: LayerCall, argument: str, index: int) -> JacobianColumn:
    """Return the column of a pixel: its weight in each bin with a sample next to it; a region has no gradient."""
    if input_index(argument) == 1:
        return JacobianColumn(index_tensor(0)[:0], (), NOT_DIFFERENTIATED, "0")
    maps, regions = (value.tensor for value in call.inputs)
    one_hot = torch.zeros_like(maps, memory_format=torch.contiguous_format)
    one_hot.view(-1)[index] = 1
    weights = call.layer.forward(call.params, (one_hot, regions), Mode())[0].flatten()
    outputs = weights.nonzero().flatten()
    weighted = "it is part of the mean of samples in each bin: the output gradient δ times its weight"
    words = weighted if len(outputs) else "no bin depends on it"
    return JacobianColumn(
        outputs, (computed_factors(weights[outputs].double(), "share", "share"),), words, LINEAR_FORMULA
    )


def roi_pool(call: LayerCall, argument: str, index: int) -> JacobianColumn:
    """Return the column of a pixel: 1 for each bin of which it is the maximum; a region has no gradient."""
    if input_index(argument) == 1:
        return JacobianColumn(index_tensor(0)[:0], (), NOT_DIFFERENTIATED, "0")
    _, _, height, width = call.inputs[0].tensor.shape
    n, channel, row, column = unravel_index(index, call.inputs[0].tensor.shape)
    is_maximum = torch.zeros_like(call.cache.switches, dtype=torch.bool)
    is_maximum[:, channel] = call.cache.switches[:, channel] == (n * height + row) * width + column
    outputs = is_maximum.flatten().nonzero().flatten()
    maximum = f"it was the maximum of {plural(len(outputs), 'bin')}: the sum of the output gradients δ there"
    words = maximum if len(outputs) else "it was not the maximum of any bin: its gradient is 0"
    return JacobianColumn(
        outputs, (), words, r"\frac{\partial C}{\partial x_i} = \sum_{o:\, \text{switch}(o) = i} \delta_o"
    )


def lp_pool2d(call: LayerCall, argument: str, index: int) -> JacobianColumn:
    """∂y/∂x = sign(x) |x|^(p - 1) y^(1 - p) for every window that contains x."""
    layer = call.layer
    assert isinstance(layer, LpPool2d)
    n, c, h, w = unravel_index(index, call.x.shape)
    one_hot = torch.zeros_like(call.x[:1, :1])
    one_hot[0, 0, h, w] = 1
    windows = layer.forward({}, one_hot, Mode())[0].flatten().nonzero().flatten()  # the windows that contain the pixel
    outputs = (n * call.x.shape[1] + c) * (call.y.shape[2] * call.y.shape[3]) + windows
    x, y = elements(call.x, index_tensor(index)), elements(call.y, outputs)
    outputs, y = outputs[y > 0], y[y > 0]  # a window of zeros has no gradient
    power = (x.sign() * x.abs() ** (layer.p - 1)).expand(len(y))
    factors = (
        computed_factors(power, "sign(x) |x|^(p-1)", "activation"),
        computed_factors(y ** (1 - layer.p), "y^(1-p)", "scale"),
    )
    words = f"it is in {plural(len(outputs), 'window')} with a norm above 0: in each, sign(x) |x|^(p-1) / norm^(p-1)"
    formula = r"\frac{\partial C}{\partial x_i} = \sum_o \delta_o\, \mathrm{sign}(x_i)\,|x_i|^{p-1}\, y_o^{1-p}"
    return JacobianColumn(outputs, factors, words, formula)
