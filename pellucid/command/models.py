"""Load the model of a MODEL argument."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pellucid.model import Model


def open_model(model: str, device: str | None = None) -> "Model":
    """Load the model of a MODEL argument onto a device."""
    from pellucid.model import Model

    return Model.load(model, device=device or "cpu")
