"""Conversion of PyTorch modules and ONNX files to Models with an explicit backward pass."""

from pellucid.opening.open_network import open
from pellucid.opening.registered import register_op

__all__ = ["open", "register_op"]
