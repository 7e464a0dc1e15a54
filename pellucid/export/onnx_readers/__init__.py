"""Conversion of ONNX nodes to layers, with one function for each operator."""

from pellucid.export.onnx_readers.operators import READERS
from pellucid.export.onnx_readers.reading import NodeReading, ReadLayer, Unreadable

__all__ = ["READERS", "NodeReading", "ReadLayer", "Unreadable"]
