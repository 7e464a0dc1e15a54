"""The functions that convert ONNX operators to layers, by operator."""

from pellucid.opening.onnx import arithmetic, layers, recurrent, resizing, tensors
from pellucid.opening.onnx.reading import Reader

READERS: dict[str, Reader] = {
    **layers.READERS,
    **tensors.READERS,
    **arithmetic.READERS,
    **resizing.READERS,
    **recurrent.READERS,
}
