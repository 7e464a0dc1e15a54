"""Conversion of ONNX nodes to layers, with one function for each operator."""

from pellucid.opening.onnx.operators import READERS
from pellucid.opening.onnx.reading import NodeReading, ReadLayer, Unreadable

__all__ = ["READERS", "NodeReading", "ReadLayer", "Unreadable"]
