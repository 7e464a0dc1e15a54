"""The names of GoogLeNet's layers in others' files."""

import re

from pellucid.weights.names.naming import each, of_kind

_TORCHVISION = {
    "1": "branch1x1.conv", "2.0": "branch3x3.reduce", "2.1": "branch3x3.conv", "3.0": "branch5x5.reduce",
    "3.1": "branch5x5.conv", "4.1": "branch_pool.conv",
}  # fmt: skip
_ONNX = {
    "1x1": "branch1x1.conv", "3x3_reduce": "branch3x3.reduce", "3x3": "branch3x3.conv",
    "5x5_reduce": "branch5x5.reduce", "5x5": "branch5x5.conv", "pool_proj": "branch_pool.conv",
}  # fmt: skip


def torchvision(layer: str) -> str | None:
    """Return our path by torchvision's name: "conv1.bn", "inception3a.branch2.0.conv", "aux1.fc1", "fc"."""
    found = re.fullmatch(r"(inception\d[a-e])\.branch(\d(?:\.\d)?)\.(conv|bn)", layer)
    if found is not None:
        inner = _TORCHVISION.get(found[2])
        return f"features.{found[1]}.{of_kind(inner, found[3])}" if inner else None
    found = re.fullmatch(r"(conv[1-3])\.(conv|bn)", layer)
    if found is not None:
        return f"features.{of_kind(found[1], found[2])}"
    found = re.fullmatch(r"aux([12])\.(conv\.conv|conv\.bn|fc1|fc2)", layer)
    if found is not None:
        known = {"conv.conv": "conv", "conv.bn": "norm", "fc1": "dense", "fc2": "scores"}
        return f"head.auxiliary{found[1]}.{known[found[2]]}"
    return "head.scores" if layer == "fc" else None


def onnx(layer: str) -> str | None:
    """Return our path by Caffe's name: "conv1/7x7_s2", "inception_3a/3x3_reduce", "loss3/classifier"."""
    found = re.fullmatch(r"inception_(\d[a-e])/(\w+)", layer)
    if found is not None:
        inner = _ONNX.get(found[2])
        return f"features.inception{found[1]}.{inner}" if inner else None
    known = {"conv1/7x7_s2": "features.conv1", "conv2/3x3_reduce": "features.conv2", "conv2/3x3": "features.conv3"}
    return {**known, "loss3/classifier": "head.scores"}.get(layer)


TORCHVISION, ONNX = each(torchvision), each(onnx)
