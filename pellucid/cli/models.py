"""What MODEL means on the command line; the words and the file are `pellucid.run.find`'s."""

from typing import TYPE_CHECKING

from pellucid.run.find import MODEL_HELP, weights_file

if TYPE_CHECKING:
    from pellucid.model import Model

__all__ = ["MODEL_HELP", "open_model", "weights_file"]


def open_model(model: str, device: str | None = None) -> "Model":
    """Load the model that MODEL names, onto a device."""
    from pellucid.model import Model

    return Model.load(weights_file(model), device=device or "cpu")
