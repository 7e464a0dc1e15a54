"""Conversion of ONNX nodes to layers, with one function for each operator."""

from pellucid.export.onnx_readers.operators import READERS
from pellucid.export.onnx_readers.reading import Found, NodeReading, Unreadable

__all__ = ["READERS", "Found", "NodeReading", "Unreadable"]
