"""Import of ONNX files as networks."""

import os

from pellucid.combine import Graph
from pellucid.layers.base import Params
from pellucid.opening.onnx.network import imported


def from_onnx(path: str | os.PathLike[str]) -> tuple[Graph, Params]:
    """Return the network of an ONNX file as a Graph with a node for each layer, and its weights in float32.

    Supported are the operators that `to_onnx` writes, of operator sets 13 to 21, with inputs of fixed size except for
    the batch axis. Nodes keep their names, with "_" for characters other than letters and digits.
    Raises PellucidError, which names the file, if it is damaged, stores weights in other files, or has nodes that no
    layer implements; the error lists all unsupported operators.
    """
    net, params, _ = imported(path)
    return net, params
