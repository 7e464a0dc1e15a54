"""All ONNX operators that become layers."""

from pellucid.opening.onnx import arithmetic, layers, resizing, tensors
from pellucid.opening.onnx.reading import Reader

READERS: dict[str, Reader] = {**layers.READERS, **tensors.READERS, **arithmetic.READERS, **resizing.READERS}
