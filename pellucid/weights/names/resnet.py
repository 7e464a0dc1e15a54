"""Names of the residual networks' layers in published files."""

import re

from pellucid.weights.names.naming import each

_KINDS = {"conv": "conv", "bn": "norm", "convolution": "conv", "normalization": "norm"}


def torchvision(layer: str) -> str | None:
    """Return our path by torchvision's and timm's name: "conv1", "layer1.0.bn2", "layer2.0.downsample.0", "fc"."""
    found = re.fullmatch(r"layer(\d)\.(\d{1,3})\.(?:(conv|bn)(\d)|downsample\.([01]))", layer)
    if found is not None:
        stage, block, kind, number, down = found.groups()
        inner = f"body.{_KINDS[kind]}{number}" if kind else f"shortcut.{('conv', 'norm')[int(down)]}"
        return _block(int(stage), int(block) + 1, inner)
    return {"conv1": "features.stem.conv", "bn1": "features.stem.norm", "fc": "head.scores"}.get(layer)


def keras(layer: str) -> str | None:
    """Return our path by Keras' name: "conv1_conv", "conv2_block1_0_bn" (the shortcut's), "probs", "predictions"."""
    found = re.fullmatch(r"conv([2-5])_block(\d{1,3})_([0-3])_(conv|bn)", layer)
    if found is not None:
        stage, block, number, kind = found.groups()
        inner = f"shortcut.{_KINDS[kind]}" if number == "0" else f"body.{_KINDS[kind]}{number}"
        return _block(int(stage) - 1, int(block), inner)
    if layer in ("probs", "predictions"):
        return "head.scores"
    return {"conv1_conv": "features.stem.conv", "conv1_bn": "features.stem.norm"}.get(layer)


def transformers(layer: str) -> str | None:
    """Return our path by the name of Hugging Face's models, "resnet.encoder.stages.0.layers.1.layer.0.convolution"."""
    place = r"resnet\.encoder\.stages\.(\d)\.layers\.(\d{1,3})\.(?:layer\.(\d)|shortcut)\.(convolution|normalization)"
    found = re.fullmatch(place, layer)
    if found is not None:
        stage, block, number, kind = found.groups()
        inner = f"shortcut.{_KINDS[kind]}" if number is None else f"body.{_KINDS[kind]}{int(number) + 1}"
        return _block(int(stage) + 1, int(block) + 1, inner)
    found = re.fullmatch(r"resnet\.embedder\.embedder\.(convolution|normalization)", layer)
    if found is not None:
        return f"features.stem.{_KINDS[found[1]]}"
    return "head.scores" if layer == "classifier.1" else None


def onnx(layer: str) -> str | None:
    """Return our path by Caffe2's name: "conv1", "res_conv1_bn", "res2_0_branch2a", "res2_0_branch1_bn", "pred"."""
    found = re.fullmatch(r"res([2-5])_(\d{1,3})_branch(?:1|2([abc]))(_bn)?", layer)
    if found is not None:
        stage, block, letter, norm = found.groups()
        kind = "norm" if norm else "conv"
        inner = f"body.{kind}{'abc'.index(letter) + 1}" if letter else f"shortcut.{kind}"
        return _block(int(stage) - 1, int(block) + 1, inner)
    return {"conv1": "features.stem.conv", "res_conv1_bn": "features.stem.norm", "pred": "head.scores"}.get(layer)


def _block(stage: int, block: int, inner: str) -> str:
    return f"features.stage{stage}.block{block}.residual.{inner}"


TORCHVISION, KERAS, TRANSFORMERS, ONNX = each(torchvision), each(keras), each(transformers), each(onnx)
