"""The names of SqueezeNet's layers in others' files."""

import re

from pellucid.combine.base import walk
from pellucid.models import features, squeezenet1_1
from pellucid.weights.names.naming import each

_EXPAND = {"squeeze": "squeeze", "expand1x1": "expand.expand1x1", "expand3x3": "expand.expand3x3"}
_ROW = [path for path, _ in walk(features(squeezenet1_1())) if path and "." not in path]


def torchvision(layer: str) -> str | None:
    """Return our path by torchvision's name: "features.3.squeeze", "classifier.1"; all layers of a row count."""
    found = re.fullmatch(r"features\.(\d{1,3})(?:\.(\w+))?", layer)
    if found is None:
        return "head.scores" if layer == "classifier.1" else None
    index, part = int(found[1]), found[2]
    if index >= len(_ROW) or (part is not None and part not in _EXPAND):
        return None
    return f"features.{_ROW[index]}" + (f".{_EXPAND[part]}" if part else "")


def onnx(layer: str) -> str | None:
    """Return our path by Caffe's name: "conv1", "fire2/squeeze1x1", "conv10"."""
    found = re.fullmatch(r"(fire\d)/(squeeze|expand\dx\d)(?:1x1)?", layer)
    if found is not None and found[2] in _EXPAND:
        return f"features.{found[1]}.{_EXPAND[found[2]]}"
    return {"conv1": "features.conv1", "conv10": "head.scores"}.get(layer)


TORCHVISION, ONNX = each(torchvision), each(onnx)
