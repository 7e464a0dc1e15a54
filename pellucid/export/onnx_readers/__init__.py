"""ONNX's nodes as our layers: one function for each operator."""

from pellucid.export.onnx_readers.operators import READERS
from pellucid.export.onnx_readers.reading import Found, Reading, Unreadable

__all__ = ["READERS", "Found", "Reading", "Unreadable"]
