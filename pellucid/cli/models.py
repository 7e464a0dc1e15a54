"""What MODEL and `--target` mean on the command line; the words and the file are `pellucid.run.folder`'s."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pellucid.run.folder import MODEL_HELP, weights_file

if TYPE_CHECKING:
    from pellucid.model import Model

__all__ = ["MODEL_HELP", "class_number", "open_model", "weights_file"]


def open_model(model: str, device: str | None = None) -> "Model":
    """Load the model that MODEL names, onto a device."""
    from pellucid.model import Model

    return Model.load(weights_file(model), device=device or "cpu")


def class_number(asked: str, classes: Sequence[str], besides: str = "") -> int:
    """Return the index of the class with that name or index; besides: text to add to the error message."""
    from pellucid.errors import PellucidError, nearest

    if asked in classes:
        return classes.index(asked)
    if asked.isdecimal() and int(asked) < len(classes):
        return int(asked)
    hint = ("" if asked.isdecimal() else nearest(asked, classes)) or f"; it knows {', '.join(classes):.80}"
    raise PellucidError(f"--target: the model has no class {asked!r}{hint}{besides}")
