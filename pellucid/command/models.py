"""Load the model that a command is given: a run folder, a weights file, or the name of a pretrained model."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pellucid.model import Model


FOREIGN_SUFFIXES = (".onnx", ".pt2")  # suffixes of files that pellucid.open reads


def open_model(model: str, device: str | None = None) -> "Model":
    """Load a run folder, a weights file or a pretrained model onto a device."""
    from pellucid.model import Model

    return Model.load(model, device=device or "cpu")


def open_network(model: str) -> "Model":
    """Load what `open_model` loads, an ONNX file, or an exported program of PyTorch."""
    if not model.endswith(FOREIGN_SUFFIXES):
        return open_model(model)
    import pellucid

    return pellucid.open(model)
