"""Weights files in the formats safetensors, PyTorch, Keras and ONNX, read as named tensors."""

from pellucid.weights.match import Mismatch, MismatchError, match, require_match
from pellucid.weights.opening import format_name, open_weights

__all__ = ["Mismatch", "MismatchError", "format_name", "match", "open_weights", "require_match"]
