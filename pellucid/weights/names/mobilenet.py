"""The names of MobileNetV2's layers in others' files."""

import re

from pellucid.models.mobilenet import STAGES
from pellucid.weights.names.naming import each

# (stage, block) of ours, by the place in the row of all 17 blocks
_BLOCKS = [(stage, block) for stage, (_, _, depth, _) in enumerate(STAGES, 1) for block in range(1, depth + 1)]
_WIDE = ("expand", "depthwise", "project")
_NARROW = ("depthwise", "project")  # the first block does not expand


def torchvision(layer: str) -> str | None:
    """Return our path by torchvision's name: "features.0.0", "features.2.conv.1.0", "classifier.1".

    A block is a row of (convolution, norm, ReLU6) for all but its last convolution, which stands in the row itself.
    """
    found = re.fullmatch(r"features\.(\d{1,3})\.(?:conv\.)?(\d)(?:\.(\d))?", layer)
    if found is None:
        return "head.scores" if layer == "classifier.1" else None
    index, place, inner = int(found[1]), int(found[2]), found[3]
    if index in (0, len(_BLOCKS) + 1) and inner is None and place < 2:
        return f"features.{'last' if index else 'stem'}.{('conv', 'norm')[place]}"
    if not 1 <= index <= len(_BLOCKS):
        return None
    names = _NARROW if index == 1 else _WIDE
    if inner is None and place - len(names) + 1 in (0, 1):
        return _inside(index - 1, "project", place - len(names) + 1 == 1)
    return _inside(index - 1, names[place], inner == "1") if place < len(names) - 1 and inner in ("0", "1") else None


def timm(layer: str) -> str | None:
    """Return our path by timm's name: "conv_stem", "blocks.0.0.conv_dw", "blocks.1.0.bn3", "conv_head"."""
    found = re.fullmatch(r"blocks\.(\d)\.(\d)\.(?:conv_(pw|dw|pwl)|bn([123]))", layer)
    if found is not None:
        stage, block, kind, norm = int(found[1]) + 1, int(found[2]) + 1, found[3], found[4]
        if (stage, block) not in _BLOCKS:
            return None
        names = _NARROW if stage == 1 else _WIDE
        kinds = ("dw", "pw") if stage == 1 else ("pw", "dw", "pwl")
        place = kinds.index(kind) if kind in kinds else int(norm or 9) - 1
        index = _BLOCKS.index((stage, block))
        return _inside(index, names[place], norm is not None) if place < len(names) else None
    known = {"conv_stem": "features.stem.conv", "bn1": "features.stem.norm", "conv_head": "features.last.conv"}
    return {**known, "bn2": "features.last.norm", "classifier": "head.scores"}.get(layer)


def keras(layer: str) -> str | None:
    """Return our path by Keras' name: "Conv1", "expanded_conv_project_BN", "block_1_expand", "Conv_1", "Logits"."""
    found = re.fullmatch(r"(?:expanded_conv|block_(\d{1,3}))_(expand|depthwise|project)(_BN)?", layer)
    if found is not None:
        index = int(found[1] or 0)
        return _inside(index, found[2], found[3] is not None) if index < len(_BLOCKS) else None
    if layer in ("Logits", "predictions"):
        return "head.scores"
    known = {"Conv1": "features.stem.conv", "bn_Conv1": "features.stem.norm", "Conv_1": "features.last.conv"}
    return {**known, "Conv_1_bn": "features.last.norm"}.get(layer)


def _inside(index: int, name: str, norm: bool) -> str:
    stage, block = _BLOCKS[index]
    return f"features.stage{stage}.block{block}.body.{name}{'_norm' if norm else ''}"


TORCHVISION, TIMM, KERAS = each(torchvision), each(timm), each(keras)
