"""Load the model of a MODEL argument."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pellucid.model import Model


def open_model(model: str, device: str | None = None) -> "Model":
    """Load the model of a MODEL argument onto a device."""
    from pellucid.model import Model

    return Model.load(model, device=own_device(device or "cpu"))


def own_device(name: str) -> str:
    """Return the name of a device; for a GPU without a number, that of this process among those torchrun started."""
    import torch

    if name not in ("cuda", "auto") or "LOCAL_RANK" not in os.environ or not torch.cuda.is_available():
        return name
    return f"cuda:{int(os.environ['LOCAL_RANK']) % torch.cuda.device_count()}"


def open_network(model: str) -> "Model":
    """Load a model as `open_model` does, or an ONNX file; one whose output is a vector counts as a classifier."""
    if not model.endswith(".onnx"):
        return open_model(model)
    from pellucid.model import Model
    from pellucid.network.summary import summary
    from pellucid.opening.onnx.file import read_onnx

    file = read_onnx(model)
    last = summary(file.net, file.params, file.input_shape).rows[-1]
    has_scores = len(last.shape) == 1 and not last.layer.startswith("Softmax")
    found = Model(file.net, loss="softmax_cross_entropy" if has_scores else "quadratic", input_shape=file.input_shape)
    found.params = file.params
    return found
