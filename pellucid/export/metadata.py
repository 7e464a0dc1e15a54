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
