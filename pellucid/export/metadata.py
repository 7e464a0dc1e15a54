"""Metadata of exported files, which are passed on to other machines."""

from pathlib import PureWindowsPath
from typing import Any

from pellucid.model import Model


def shared_preprocess(model: Model) -> dict[str, Any]:
    """Return a model's preprocessing for a file to pass on, which names the data without the path of their folder."""
    preprocess = dict(model.preprocess)
    if "data" in preprocess:
        preprocess["data"] = PureWindowsPath(str(preprocess["data"])).name  # splits at both / and the other slash
    return preprocess


def training_size(model: Model) -> tuple[int, int]:
    """Return (H, W) of the pictures in training, a square of their longest side, or the size that the model is for."""
    size: Any = model.preprocess.get("size")
    if size is None:
        return model.nominal_shape[1], model.nominal_shape[2]
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def takes_any_size(model: Model) -> bool:
    """Return whether a model is for pictures of any height and width."""
    return len(model.input_shape) == 3 and None in model.input_shape
