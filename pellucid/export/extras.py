"""The packages that only an export needs, imported when it starts."""

from importlib import import_module
from typing import Any

from pellucid.errors import PellucidError


def optional(name: str) -> Any:
    """Return the module; PellucidError that says how to install it where it is missing."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.split(".", 1)[0]:
            raise
        raise PellucidError(
            f"ONNX needs the package {error.name}, which is missing; pip install pellucid[export]"
        ) from error
