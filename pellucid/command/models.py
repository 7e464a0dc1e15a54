"""Load the model of a MODEL argument."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pellucid.model import Model


FOREIGN_SUFFIXES = (".onnx", ".pt2")  # suffixes of files that pellucid.open reads


def open_model(model: str, device: str | None = None) -> "Model":
    """Load the model of a MODEL argument onto a device."""
    from pellucid.model import Model

    return Model.load(model, device=device or "cpu")


def open_network(model: str) -> "Model":
    """Load the model of a MODEL argument, which may also be an ONNX file or an exported program of PyTorch."""
    if not model.endswith(FOREIGN_SUFFIXES):
        return open_model(model)
    import pellucid

    return pellucid.open(model)
