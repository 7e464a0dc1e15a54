"""The layers with several inputs in ONNX."""

from pellucid.export.onnx_nodes.node import Nodes
from pellucid.layers import Add, Concat, Multiply


def add(layer: Add, n: Nodes) -> None:
    """Write Add for two inputs, Sum for more."""
    names = [value.name for value in n.step.inputs]
    n.last("Add" if len(names) == 2 else "Sum", *names)


def concat(layer: Concat, n: Nodes) -> None:
    """Write Concat."""
    n.last("Concat", *(value.name for value in n.step.inputs), axis=layer.axis)


def multiply(layer: Multiply, n: Nodes) -> None:
    """Write a Mul for each input after the first."""
    product, *others, final = (value.name for value in n.step.inputs)
    for other in others:
        product = n.inner("Mul", product, other)
    n.last("Mul", product, final)
