"""The functions that write layers as ONNX nodes, by type; layers that are not in WRITERS have a method `onnx`."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.nn import functional as F

from pellucid import layers
from pellucid.base.errors import PellucidError
from pellucid.extend.registry import is_ours
from pellucid.layers.base import Layer, pair
from pellucid.layers.recurrent import Recurrent
from pellucid.network.traced import TracedLayer
from pellucid.opening.onnx_nodes import operators, pooling, resizing
from pellucid.opening.onnx_nodes.node import Nodes

PAD_MODES = {"zero": "constant", "constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def dense(layer: layers.Dense, n: Nodes) -> None:
    """Write Gemm, or MatMul and Add for inputs with more than two axes, which Gemm does not support."""
    bias = (n.param("bias"),) if layer.bias else ()
    if len(n.shape) == 1:
        n.last("Gemm", n.x, n.param("weight"), *bias, transB=1)
        return
    transposed = n.inner("Transpose", n.param("weight"), perm=[1, 0])
    if not bias:
        n.last("MatMul", n.x, transposed)
    else:
        n.last("Add", n.inner("MatMul", n.x, transposed), *bias)


def conv2d(layer: layers.Conv2d, n: Nodes) -> None:
    """Write Conv."""
    left, right, top, bottom = layer.edges()
    n.last(
        "Conv",
        n.x,
        n.param("weight"),
        *((n.param("bias"),) if layer.bias else ()),
        kernel_shape=[*pair(layer.kernel)],
        strides=[*pair(layer.stride)],
        pads=[top, left, bottom, right],
        dilations=[*pair(layer.dilation)],
        group=layer.groups,
    )


def conv_transpose2d(layer: layers.ConvTranspose2d, n: Nodes) -> None:
    """Write ConvTranspose; if onnxruntime does not support the output padding, unpadded ConvTranspose, Pad and Add."""
    bias = (n.param("bias"),) if layer.bias else ()
    window = {
        "kernel_shape": [*pair(layer.kernel)],
        "strides": [*pair(layer.stride)],
        "dilations": [*pair(layer.dilation)],
        "group": layer.groups,
    }
    (pad_rows, pad_columns), (extra_rows, extra_columns) = pair(layer.padding), pair(layer.output_padding)
    stride_rows, stride_columns = pair(layer.stride)
    if extra_rows < stride_rows and extra_columns < stride_columns:
        edges = [pad_rows, pad_columns, pad_rows, pad_columns]
        output_padding = [extra_rows, extra_columns]
        n.last("ConvTranspose", n.x, n.param("weight"), *bias, pads=edges, output_padding=output_padding, **window)
        return
    uncropped = n.inner("ConvTranspose", n.x, n.param("weight"), **window)
    pads = n.integers("pads", 0, 0, -pad_rows, -pad_columns, 0, 0, extra_rows - pad_rows, extra_columns - pad_columns)
    if not bias:
        n.last("Pad", uncropped, pads)
        return
    n.last("Add", n.inner("Pad", uncropped, pads), n.inner("Reshape", *bias, n.integers("bias_shape", -1, 1, 1)))


def batch_norm(layer: layers.BatchNorm, n: Nodes) -> None:
    """Write BatchNormalization, whose momentum is 1 minus Pellucid's and PyTorch's."""
    params = [n.param(name) for name in ("weight", "bias", "running_mean", "running_var")]
    n.last("BatchNormalization", n.x, *params, epsilon=float(layer.epsilon), momentum=1.0 - layer.momentum)


def instance_norm2d(layer: layers.InstanceNorm2d, n: Nodes) -> None:
    """Write InstanceNormalization."""
    if layer.affine:
        affine = n.param("weight"), n.param("bias")
    else:
        affine = n.constant("scale", torch.ones(n.shape[0])), n.constant("shift", torch.zeros(n.shape[0]))
    n.last("InstanceNormalization", n.x, *affine, epsilon=float(layer.epsilon))


def group_norm(layer: layers.GroupNorm, n: Nodes) -> None:
    """Write GroupNormalization."""
    affine = n.param("weight"), n.param("bias")
    n.last("GroupNormalization", n.x, *affine, num_groups=layer.groups, epsilon=float(layer.epsilon))


def layer_norm(layer: layers.LayerNorm, n: Nodes) -> None:
    """Write LayerNormalization."""
    n_axes = len(n.shape if layer.shape is None else layer.shape)
    n.last("LayerNormalization", n.x, n.param("weight"), n.param("bias"), axis=-n_axes, epsilon=float(layer.epsilon))


# PyTorch's gates in the order of ONNX: input, output, forget gate and candidate; update gate, reset gate, candidate.
GATE_ORDERS: Mapping[str, tuple[int, ...]] = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}


def recurrent(layer: Recurrent, n: Nodes) -> None:
    """Write one node for each level, whose gates are in another order; raises PellucidError for a last state."""
    if layer.output != "sequence":
        raise PellucidError(
            f"{n.layer_run.name}: {type(layer).__name__} with output={layer.output!r} has no form in ONNX"
        )
    op = type(layer).__name__
    options: dict[str, Any] = {"hidden_size": layer.units}
    if op == "GRU":
        options["linear_before_reset"] = 1
    if layer.bidirectional:
        options["direction"] = "bidirectional"
    if isinstance(layer, layers.RNN) and layer.nonlinearity == "relu":
        options["activations"] = ["Relu"] * (2 if layer.bidirectional else 1)
    x = n.inner("Transpose", n.x, perm=[1, 0, 2])
    for level in range(layer.levels):
        suffixes = (f"l{level}", f"l{level}_reverse") if layer.bidirectional else (f"l{level}",)
        tensors = [
            n.inner("Concat", *(_stacked(layer, n, kind, suffix) for suffix in suffixes), axis=0)
            for kind in (("weight_ih",), ("weight_hh",), *((("bias_ih", "bias_hh"),) if layer.bias else ()))
        ]
        y = n.inner(op, x, *tensors, **options)
        x = n.inner("Reshape", n.inner("Transpose", y, perm=[0, 2, 1, 3]), n.integers("merged", 0, 0, -1))
    n.last("Transpose", x, perm=[1, 0, 2])


def _stacked(layer: Recurrent, n: Nodes, names: tuple[str, ...], suffix: str) -> str:
    """Write the parameters of a direction, one below the other, with a first axis of 1 and ONNX's order of gates."""
    order = GATE_ORDERS[type(layer).__name__]
    gates: list[str] = []
    for name in names:
        gate_names = n.inners("Split", layer.gates, n.param(f"{name}_{suffix}"), axis=0, num_outputs=layer.gates)
        gates += [gate_names[gate] for gate in order]
    return n.inner("Unsqueeze", n.inner("Concat", *gates, axis=0), n.integers("first", 0))


def local_response_norm(layer: layers.LocalResponseNorm, n: Nodes) -> None:
    """Write LRN for odd sizes; for even sizes, the sum over neighbouring channels is a 1 x 1 convolution."""
    if layer.size % 2:
        n.last(
            "LRN",
            n.x,
            size=layer.size,
            alpha=float(layer.alpha),
            beta=float(layer.beta),
            bias=float(layer.k),
        )
        return
    channels = n.shape[0]
    before = layer.size // 2
    shift = torch.arange(channels) - torch.arange(channels)[:, None]  # from the channel to its neighbour
    weights = ((shift >= -before) & (shift < layer.size - before)).float() * (layer.alpha / layer.size)
    weight = n.constant("share", weights[:, :, None, None])
    sums = n.inner("Conv", n.inner("Mul", n.x, n.x), weight, n.constant("k", torch.full((channels,), float(layer.k))))
    n.last("Div", n.x, n.inner("Pow", sums, n.number("beta", layer.beta)))


def local_contrast_norm(layer: layers.LocalContrastNorm, n: Nodes) -> None:
    """Write v = x - Σ w x and y = v / max(c, σ, epsilon), for c the mean of σ over the image, in primitive nodes."""
    half = layer.size // 2
    channels, height, width = n.shape
    weights = torch.exp(-0.5 * (torch.arange(-half, half + 1).float() / (layer.size / 4)) ** 2)
    column_kernel, row_kernel = weights.view(1, 1, -1, 1), weights.view(1, 1, 1, -1)
    rows = F.conv2d(torch.ones(1, 1, height, width), column_kernel, padding=(half, 0))
    weight_sums = n.constant("mass", channels * F.conv2d(rows, row_kernel, padding=(0, half)))  # sums of the weights
    column_kernel_name, row_kernel_name = n.constant("down", column_kernel), n.constant("across", row_kernel)
    channel_axis, image_axes = n.integers("channels", 1), n.integers("image", 2, 3)

    def mean(value: str) -> str:
        plane = n.inner("ReduceSum", value, channel_axis, keepdims=1)  # (N, 1, H, W)
        columns = n.inner("Conv", plane, column_kernel_name, pads=[half, 0, half, 0])
        return n.inner("Div", n.inner("Conv", columns, row_kernel_name, pads=[0, half, 0, half]), weight_sums)

    centred = n.inner("Sub", n.x, mean(n.x))
    deviation = n.inner("Sqrt", mean(n.inner("Mul", centred, centred)))
    average = n.inner("ReduceMean", deviation, image_axes, keepdims=1)
    n.last("Div", centred, n.inner("Max", deviation, average, n.number("epsilon", layer.epsilon)))


def reshape(layer: layers.Reshape, n: Nodes) -> None:
    """Write Reshape; the size 0 means the size of the batch axis."""
    n.last("Reshape", n.x, n.integers("shape", 0, *n.layer_run.output.shape))


def pad2d(layer: layers.Pad2d, n: Nodes) -> None:
    """Write Pad, and Slice for negative padding.

    Padded values are computed from the uncropped image, so Pad comes first. For "circular", they are computed from the
    cropped image, so Slice comes first.
    """
    edges = layer.edges()
    added, cropped = tuple(max(size, 0) for size in edges), tuple(max(-size, 0) for size in edges)
    if not any(cropped):
        n.last("Pad", n.x, *_pads(layer, n, added), mode=PAD_MODES[layer.kind])
    elif not any(added):
        n.last("Slice", n.x, *_slice_inputs(n, n.shape[1:], cropped))
    elif layer.kind == "circular":
        n.last(
            "Pad",
            n.inner("Slice", n.x, *_slice_inputs(n, n.shape[1:], cropped)),
            *_pads(layer, n, added),
            mode="wrap",
        )
    else:
        size = n.shape[1] + added[2] + added[3], n.shape[2] + added[0] + added[1]
        n.last(
            "Slice",
            n.inner("Pad", n.x, *_pads(layer, n, added), mode=PAD_MODES[layer.kind]),
            *_slice_inputs(n, size, cropped),
        )


def pad_channels(layer: layers.PadChannels, n: Nodes) -> None:
    """Write Pad."""
    n.last("Pad", n.x, n.integers("pads", 0, layer.before, 0, 0, 0, layer.after, 0, 0), mode="constant")


def crop(layer: layers.Crop, n: Nodes) -> None:
    """Write Slice to the height and width of the second input, which are fixed in the file."""
    n.needs_metadata = True
    n.last(
        "Slice",
        n.x,
        n.integers("starts", 0, 0),
        n.integers("ends", *n.layer_run.output.shape[1:]),
        n.integers("axes", 2, 3),
    )


def _pads(layer: layers.Pad2d, n: Nodes, edges: tuple[int, ...]) -> tuple[str, ...]:
    left, right, top, bottom = edges
    value = (n.number("value", layer.value),) if layer.value else ()
    return (n.integers("pads", 0, 0, top, left, 0, 0, bottom, right), *value)


def _slice_inputs(n: Nodes, size: tuple[int, ...], cropped: tuple[int, ...]) -> tuple[str, ...]:
    left, right, top, bottom = cropped
    starts, ends = n.integers("starts", top, left), n.integers("ends", size[0] - bottom, size[1] - right)
    return starts, ends, n.integers("axes", 2, 3)


def add(layer: layers.Add, n: Nodes) -> None:
    """Write Add for two inputs, Sum for more."""
    n.last("Add" if len(n.sources) == 2 else "Sum", *n.sources)


def multiply(layer: layers.Multiply, n: Nodes) -> None:
    """Write a Mul for each input after the first."""
    product, *factors, last_factor = n.sources
    for factor in factors:
        product = n.inner("Mul", product, factor)
    n.last("Mul", product, last_factor)


WRITERS: dict[type[Layer], Callable[[Any, Nodes], None]] = {
    layers.Dense: dense,
    layers.Conv2d: conv2d,
    layers.ConvTranspose2d: conv_transpose2d,
    layers.MaxPool2d: pooling.max_pool2d,
    layers.AvgPool2d: pooling.avg_pool2d,
    layers.LpPool2d: pooling.lp_pool2d,
    layers.AdaptiveAvgPool2d: pooling.adaptive_avg_pool2d,
    layers.MaxUnpool2d: pooling.max_unpool2d,
    layers.Flatten: lambda layer, n: n.last("Flatten", n.x, axis=1),
    layers.Reshape: reshape,
    layers.Pad2d: pad2d,
    layers.PadChannels: pad_channels,
    layers.Upsample: resizing.upsample,
    layers.BatchNorm: batch_norm,
    layers.InstanceNorm2d: instance_norm2d,
    layers.GroupNorm: group_norm,
    layers.LayerNorm: layer_norm,
    layers.LSTM: recurrent,
    layers.GRU: recurrent,
    layers.RNN: recurrent,
    layers.LocalResponseNorm: local_response_norm,
    layers.LocalContrastNorm: local_contrast_norm,
    layers.Add: add,
    layers.Crop: crop,
    layers.Concat: lambda layer, n: n.last("Concat", *n.sources, axis=layer.axis),
    layers.Multiply: multiply,
    **operators.WRITERS,
}


def write(step: TracedLayer) -> Nodes:
    """Return the nodes of one step, written by its layer's function in WRITERS, or else by the layer's method `onnx`.

    A layer that outputs a parameter or constant has no node, but a constant of the file. Raises PellucidError unless
    the nodes write the layer's output exactly once.
    """
    nodes = Nodes(step, is_built_in=is_ours(step.layer))
    WRITERS.get(type(step.layer), type(step.layer).onnx)(step.layer, nodes)
    outputs = [*nodes.constants, *(output for node in nodes.written for output in node.outputs)]
    if outputs.count(step.output.name) != 1:
        raise PellucidError(
            f"{type(step.layer).__name__}: its method onnx must end with nodes.last(...), which writes the layer's "
            "output, once"
        )
    return nodes


def unwritable(steps: Iterable[TracedLayer]) -> list[str]:
    """Return the names of the layer types in the steps that cannot be written as ONNX nodes, each once."""
    layer_types = dict.fromkeys(type(step.layer) for step in steps)
    return [layer_type.__name__ for layer_type in layer_types if not is_writable(layer_type)]


def custom_layers(steps: Iterable[TracedLayer]) -> list[str]:
    """Return the names of the user-defined layer types in the steps, each once."""
    return list(dict.fromkeys(type(step.layer).__name__ for step in steps if not is_ours(step.layer)))


def is_writable(layer_type: type[Layer]) -> bool:
    """Return whether WRITERS or a method `onnx` can write layers of this type."""
    return layer_type in WRITERS or layer_type.onnx is not Layer.onnx
