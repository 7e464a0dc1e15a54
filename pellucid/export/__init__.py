"""Networks as ONNX and PyTorch files, and ONNX files as networks."""

from pellucid.export import onnx_file, torch_file
from pellucid.export.onnx_file import onnx_bytes, to_onnx
from pellucid.export.onnx_import import from_onnx
from pellucid.export.parity import TOLERANCE, Parity, ParityError
from pellucid.export.target import ExportTarget
from pellucid.export.torch_file import to_torch, torch_files, weights_path
from pellucid.opening.onnx_nodes import Nodes

TARGETS = {module.TARGET.name: module.TARGET for module in (onnx_file, torch_file)}

__all__ = [
    "TARGETS",
    "TOLERANCE",
    "ExportTarget",
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
