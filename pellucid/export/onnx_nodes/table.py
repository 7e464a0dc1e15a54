"""The function that writes each type of layer as ONNX nodes."""

from collections.abc import Callable, Iterable
from typing import Any

from pellucid import layers
from pellucid.errors import PellucidError
from pellucid.export.onnx_nodes import activations, linear, merges, norms, pooling, resizing, shapes
from pellucid.export.onnx_nodes.node import Nodes
from pellucid.export.trace import Step
from pellucid.layers.base import Layer

WRITERS: dict[type[Layer], Callable[[Any, Nodes], None]] = {
    layers.Dense: linear.dense,
    layers.Conv2d: linear.conv2d,
    layers.ConvTranspose2d: linear.conv_transpose2d,
    layers.MaxPool2d: pooling.max_pool2d,
    layers.AvgPool2d: pooling.avg_pool2d,
    layers.LpPool2d: pooling.lp_pool2d,
    layers.AdaptiveAvgPool2d: pooling.adaptive_avg_pool2d,
    layers.MaxUnpool2d: pooling.max_unpool2d,
    layers.Flatten: shapes.flatten,
    layers.Reshape: shapes.reshape,
    layers.Pad2d: shapes.pad2d,
    layers.PadChannels: shapes.pad_channels,
    layers.Upsample: resizing.upsample,
    layers.Sigmoid: activations.sigmoid,
    layers.Tanh: activations.tanh,
    layers.ReLU: activations.relu,
    layers.LeakyReLU: activations.leaky_relu,
    layers.ReLU6: activations.relu6,
    layers.ELU: activations.elu,
    layers.GELU: activations.gelu,
    layers.Softmax: activations.softmax,
    layers.LogSoftmax: activations.log_softmax,
    layers.Identity: activations.identity,
    layers.Dropout: activations.dropout,
    layers.BatchNorm: norms.batch_norm,
    layers.InstanceNorm2d: norms.instance_norm2d,
    layers.GroupNorm: norms.group_norm,
    layers.LayerNorm: norms.layer_norm,
    layers.LocalResponseNorm: norms.local_response_norm,
    layers.LocalContrastNorm: norms.local_contrast_norm,
    layers.Add: merges.add,
    layers.Crop: shapes.crop,
    layers.Concat: merges.concat,
    layers.Multiply: merges.multiply,
}


def write(step: Step) -> Nodes:
    """Return the nodes of one step: by its layer's function of WRITERS, else as its own `Layer.onnx` writes them.

    Raises PellucidError, naming the layer, where that leaves the layer's output unwritten.
    """
    nodes = Nodes(step, ours=type(step.layer) in WRITERS)
    WRITERS.get(type(step.layer), type(step.layer).onnx)(step.layer, nodes)
    made = [output for node in nodes.written for output in node.outputs]
    if made.count(step.output.name) != 1:
        raise PellucidError(
            f"{type(step.layer).__name__}: its method onnx must end with nodes.last(...), which writes the layer's "
            "output, once"
        )
    return nodes


def unwritable(steps: Iterable[Step]) -> list[str]:
    """Return the names of the steps' layers that neither a function nor the layer itself writes, each once."""
    return list(dict.fromkeys(type(step.layer).__name__ for step in steps if _has_no_onnx_export(type(step.layer))))


def custom_layers(steps: Iterable[Step]) -> list[str]:
    """Return the names of the steps' layers that write themselves, each once."""
    return list(dict.fromkeys(type(step.layer).__name__ for step in steps if type(step.layer) not in WRITERS))


def _has_no_onnx_export(kind: type[Layer]) -> bool:
    return kind not in WRITERS and kind.onnx is Layer.onnx
