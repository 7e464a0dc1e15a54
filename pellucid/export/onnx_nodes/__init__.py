"""Conversion of layers to ONNX nodes, with one function for each layer."""

from pellucid.export.onnx_nodes.node import Node, Nodes
from pellucid.export.onnx_nodes.table import WRITERS, custom_layers, is_writable, unwritable, write

__all__ = ["WRITERS", "Node", "Nodes", "custom_layers", "is_writable", "unwritable", "write"]
