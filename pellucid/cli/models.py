"""Load the model of a MODEL argument, and resolve the class of a `--target` argument."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pellucid.run.folder import MODEL_HELP, weights_file

if TYPE_CHECKING:
    from pellucid.model import Model

__all__ = ["MODEL_HELP", "class_number", "open_model", "weights_file"]


def open_model(model: str, device: str | None = None) -> "Model":
    """Load the model of a MODEL argument onto a device."""
    from pellucid.model import Model

    return Model.load(weights_file(model), device=device or "cpu")


def class_number(target: str, classes: Sequence[str], besides: str = "") -> int:
    """Return the index of the class with this name or index; besides: text appended to the error message."""
    from pellucid.errors import PellucidError, nearest

    if target in classes:
        return classes.index(target)
    if target.isdecimal() and int(target) < len(classes):
        return int(target)
    hint = ("" if target.isdecimal() else nearest(target, classes)) or f"; it knows {', '.join(classes):.80}"
    raise PellucidError(f"--target: the model has no class {target!r}{hint}{besides}")
