"""Networks as ONNX and PyTorch files, and ONNX files as networks."""

from pellucid.export.onnx_file import onnx_bytes, to_onnx
from pellucid.export.onnx_import import from_onnx
from pellucid.export.onnx_nodes import Nodes
from pellucid.export.parity import TOLERANCE, Parity, ParityError
from pellucid.export.torch_file import to_torch, torch_files, weights_path

__all__ = [
    "TOLERANCE",
    "Nodes",
    "Parity",
    "ParityError",
    "from_onnx",
    "onnx_bytes",
    "to_onnx",
    "to_torch",
    "torch_files",
    "weights_path",
]
