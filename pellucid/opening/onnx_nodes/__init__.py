"""Conversion of layers to ONNX nodes, with one function for each layer."""

from pellucid.opening.onnx_nodes.layers import WRITERS, custom_layers, is_writable, unwritable, write
from pellucid.opening.onnx_nodes.node import Node, Nodes

__all__ = ["WRITERS", "Node", "Nodes", "custom_layers", "is_writable", "unwritable", "write"]
