"""The functions that write layers as ONNX nodes, by type; other layers have a method `onnx`."""

from collections.abc import Callable, Iterable
from typing import Any

from pellucid import layers
from pellucid.config import is_ours
from pellucid.errors import PellucidError
from pellucid.export.onnx_nodes import linear, merges, norms, pooling, resizing, shapes
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
    """Return the nodes of one step, written by its layer's function in WRITERS, or else by the layer's method `onnx`.

    Raises PellucidError unless the nodes write the layer's output exactly once.
    """
    nodes = Nodes(step, ours=is_ours(step.layer))
    WRITERS.get(type(step.layer), type(step.layer).onnx)(step.layer, nodes)
    outputs = [output for node in nodes.written for output in node.outputs]
    if outputs.count(step.output.name) != 1:
        raise PellucidError(
            f"{type(step.layer).__name__}: its method onnx must end with nodes.last(...), which writes the layer's "
            "output, once"
        )
    return nodes


def unwritable(steps: Iterable[Step]) -> list[str]:
    """Return the types of the steps' layers that cannot be written as ONNX nodes, each once."""
    kinds = dict.fromkeys(type(step.layer) for step in steps)
    return [kind.__name__ for kind in kinds if not is_writable(kind)]


def custom_layers(steps: Iterable[Step]) -> list[str]:
    """Return the types of the steps' user-defined layers, each once."""
    return list(dict.fromkeys(type(step.layer).__name__ for step in steps if not is_ours(step.layer)))


def is_writable(kind: type[Layer]) -> bool:
    """Return whether WRITERS or a method `onnx` can write layers of this type."""
    return kind in WRITERS or kind.onnx is not Layer.onnx
