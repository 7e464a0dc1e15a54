"""Weights files in the formats safetensors, PyTorch, Keras and ONNX, read as named tensors."""

from typing import TYPE_CHECKING

from pellucid.base.lazy import lazy_getattr
from pellucid.weights.match import Mismatch, MismatchError, match, require_match

if TYPE_CHECKING:
    from pellucid.weights.opening import format_name, open_weights

__all__ = ["Mismatch", "MismatchError", "format_name", "match", "open_weights", "require_match"]

# Imported on first use, so that `pellucid weights list` starts without PyTorch.
__getattr__ = lazy_getattr(__name__, __all__, ("pellucid.weights.opening",))
