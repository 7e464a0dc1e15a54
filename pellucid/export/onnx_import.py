"""Import of ONNX files as networks."""

import os

from pellucid.combine import Graph
from pellucid.layers.base import Params
from pellucid.opening.onnx.file import read_onnx


def from_onnx(path: str | os.PathLike[str]) -> tuple[Graph, Params]:
    """Return the network of an ONNX file as a Graph with a node for each layer, and its weights in float32.

    It is the network of `pellucid.open(path)`, which also compares it with onnxruntime and returns a Model; see there.
    """
    network = read_onnx(path)
    return network.net, network.params
