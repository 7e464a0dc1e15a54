"""The names of DenseNet's layers in others' files."""

import re

from pellucid.weights.names.naming import each

_KINDS = {"conv": "conv", "bn": "norm", "norm": "norm"}
_KERAS_LAYER = {("0", "bn"): "norm1", ("1", "conv"): "conv1", ("1", "bn"): "norm2", ("2", "conv"): "conv2"}


def torchvision(layer: str) -> str | None:
    """Return our path by torchvision's and timm's name: "features.denseblock1.denselayer1.norm1", "classifier".

    The file that torchvision publishes is older than that and says "denselayer1.norm.1".
    """
    found = re.fullmatch(r"features\.denseblock(\d)\.denselayer(\d{1,3})\.(norm|conv)\.?([12])", layer)
    if found is not None:
        return f"features.block{found[1]}.layer{found[2]}.added.{found[3]}{found[4]}"
    found = re.fullmatch(r"features\.transition(\d)\.(norm|conv)", layer)
    if found is not None:
        return f"features.transition{found[1]}.{found[2]}"
    known = {"conv0": "stem.conv", "norm0": "stem.norm", "norm5": "norm"}
    inner = known.get(layer.removeprefix("features."))
    return f"features.{inner}" if inner is not None else {"classifier": "head.scores"}.get(layer)


def keras(layer: str) -> str | None:
    """Return our path by Keras' name: "conv1/conv" or "conv1_conv", "conv2_block1_0_bn", "pool2_conv", "fc1000"."""
    found = re.fullmatch(r"conv([2-5])_block(\d{1,3})_(\d)_(conv|bn)", layer)
    if found is not None:
        inner = _KERAS_LAYER.get((found[3], found[4]))
        return f"features.block{int(found[1]) - 1}.layer{found[2]}.added.{inner}" if inner else None
    found = re.fullmatch(r"pool([2-4])_(conv|bn)", layer)
    if found is not None:
        return f"features.transition{int(found[1]) - 1}.{_KINDS[found[2]]}"
    found = re.fullmatch(r"conv1[/_](conv|bn)", layer)
    if found is not None:
        return f"features.stem.{_KINDS[found[1]]}"
    return {"bn": "features.norm", "fc1000": "head.scores", "predictions": "head.scores"}.get(layer)


TORCHVISION, KERAS = each(torchvision), each(keras)
