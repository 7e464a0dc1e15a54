"""Weights files that people have: safetensors, PyTorch, Keras and ONNX, read as plain named tensors."""

from pellucid.weights.match import Mismatch, MismatchError, match, require_match
from pellucid.weights.opening import format_name, open_weights

__all__ = ["Mismatch", "MismatchError", "format_name", "match", "open_weights", "require_match"]
