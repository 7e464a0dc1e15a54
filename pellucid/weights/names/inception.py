"""The names of Inception-v3's layers in others' files."""

import re
from collections.abc import Collection

from pellucid.combine.base import walk
from pellucid.layers import Conv2d
from pellucid.models import features, inception_v3
from pellucid.weights.names.naming import each, of_kind

_STEM = {"1a_3x3": "conv1", "2a_3x3": "conv2", "2b_3x3": "conv3", "3b_1x1": "conv4", "4a_3x3": "conv5"}
_BRANCHES = {"branch3x3dbl": "branch3x3double", "branch7x7dbl": "branch7x7double"}
_ENDS = {"a": "ends.wide.conv", "b": "ends.tall.conv"}


def torchvision(layer: str) -> str | None:
    """Return our path by torchvision's and timm's name: "Conv2d_1a_3x3.bn", "Mixed_7b.branch3x3_2a.conv", "fc"."""
    found = re.fullmatch(r"Mixed_([5-7][a-e])\.(branch(?:_pool|\dx\d(?:dbl|x\d)?))(?:_(\d)([ab])?)?\.(conv|bn)", layer)
    if found is not None:
        block, branch, number, end, kind = found.groups()
        name = _ENDS[end] if end else "conv" if branch == "branch_pool" else f"conv{number or 1}"
        return f"features.mixed{block}.{_BRANCHES.get(branch, branch)}.{of_kind(name, kind)}"
    found = re.fullmatch(r"Conv2d_(\d[ab]_\dx\d)\.(conv|bn)", layer)
    if found is not None:
        name = _STEM.get(found[1])
        return f"features.{of_kind(name, found[2])}" if name else None
    found = re.fullmatch(r"AuxLogits\.conv([01])\.(conv|bn)", layer)
    if found is not None:
        return f"head.auxiliary.{of_kind(f'conv{int(found[1]) + 1}', found[2])}"
    return {"fc": "head.scores", "AuxLogits.fc": "head.auxiliary.scores"}.get(layer)


def keras(model: str, layers: Collection[str]) -> dict[str, str]:
    """Return our paths by Keras' names: "conv2d_94", "batch_normalization_94", "predictions".

    All convolutions and norms are counted in the order in which Keras' function makes them, which is that of our
    network. The first one's number depends on the file: 1 in the published one, none or more than that elsewhere.
    """
    convolutions = [f"features.{path}" for path, layer in walk(features(inception_v3())) if isinstance(layer, Conv2d)]
    known = {"predictions": "head.scores"}
    for kind, name in (("conv", "conv2d"), ("bn", "batch_normalization")):
        counted = re.compile(rf"{name}(_\d{{1,9}})?")
        numbers = {int(layer.removeprefix(name)[1:] or 0): layer for layer in layers if counted.fullmatch(layer)}
        first = min(numbers, default=0)
        known |= {
            layer: of_kind(convolutions[number - first], kind)
            for number, layer in numbers.items()
            if number - first < len(convolutions)
        }
    return {layer: path for layer, path in known.items() if layer in layers}


TORCHVISION = each(torchvision)
