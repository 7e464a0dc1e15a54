"""Fully convolutional networks for semantic segmentation."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, get_args

from pellucid.base.settings.checks import check_known
from pellucid.combine import Graph, Sequential
from pellucid.combine.base import map_layers, walk
from pellucid.layers import Add, BatchNorm, Conv2d, ConvTranspose2d, Crop, Dropout, MaxPool2d, Pad2d
from pellucid.layers.base import Layer
from pellucid.models.airbench import airbench96
from pellucid.models.mobilenet import mobilenet_v2
from pellucid.models.parts import LOGITS_INITIALIZER, chain
from pellucid.models.structure import features
from pellucid.models.vgg import vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn

Backbone = Literal[
    "mobilenet_v2", "airbench96", "vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"
]
VGG = {
    "vgg11": vgg11, "vgg13": vgg13, "vgg16": vgg16, "vgg19": vgg19,
    "vgg11_bn": vgg11_bn, "vgg13_bn": vgg13_bn, "vgg16_bn": vgg16_bn, "vgg19_bn": vgg19_bn,
}  # fmt: skip
# Stages of MobileNetV2 whose first block has a stride of 2 after its expansion: blocks 6 and 13 in Keras.
EXPANDED_STAGES = ("stage4", "stage6")
KERAS_EPSILON = 1e-3  # of the batch normalization in Keras' weights


def fcn32(classes: int = 21, backbone: Backbone = "mobilenet_v2", epsilon: float = 1e-5) -> Graph:
    """Return FCN-32s for images of any size: scores of the last maps, upsampled to the image's size.

    It outputs logits (classes, H, W). backbone: the network whose features are used; they are 32 times smaller than
    the image for "mobilenet_v2" and the VGG networks, and 8 times for "airbench96" (the shipped `cifar` model).
    epsilon: of MobileNetV2's batch normalization, 1e-3 for Keras' weights. In maps that are s times smaller than the
    image, pixel (i, j) corresponds to pixel (s i, s j) of the image for MobileNetV2; for backbones with pooling, it
    corresponds to the middle of the s x s pixels that begin at (s i, s j). The upsampling is learned; it is initialized
    to bilinear interpolation.
    Source: Long, Shelhamer and Darrell 2015, section 4.2 and figure 3.
    """
    return _network(classes, backbone, epsilon, 0)


def fcn16(classes: int = 21, backbone: Backbone = "mobilenet_v2", epsilon: float = 1e-5) -> Graph:
    """Return FCN-16s: `fcn32` with the scores of maps twice as large added before the last upsampling.

    These maps are the expansion of the first block of stage 6 in MobileNetV2, and the output of block 4 in VGG.
    Source: Long, Shelhamer and Darrell 2015, section 4.2 and figure 3.
    """
    return _network(classes, backbone, epsilon, 1)


def fcn8(classes: int = 21, backbone: Backbone = "mobilenet_v2", epsilon: float = 1e-5) -> Graph:
    """Return FCN-8s: `fcn16` with the scores of maps four times as large as the last maps also added.

    These maps are the expansion of the first block of stage 4 in MobileNetV2, and the output of block 3 in VGG.
    Source: Long, Shelhamer and Darrell 2015, section 4.2 and figure 3.
    """
    return _network(classes, backbone, epsilon, 2)


def backbone_of(net: Layer) -> Layer | None:
    """Return the classifier that is the backbone of a network of this module; None for any other network.

    MobileNetV2 with the epsilon of Keras' weights is returned with Keras' padding, pad="same". The shapes of the
    weights do not depend on the padding.
    """
    for name in get_args(Backbone):
        norm = next((layer for _, layer in walk(net) if isinstance(layer, BatchNorm)), BatchNorm())
        nodes, output_nodes, *_ = feature_nodes(name, norm.epsilon)
        if _has_features(net, nodes, output_nodes):
            if name == "mobilenet_v2":
                return mobilenet_v2(epsilon=norm.epsilon, pad="same" if norm.epsilon == KERAS_EPSILON else "both")
            return airbench96() if name == "airbench96" else VGG[name]()
    return None


def _has_features(net: Layer, nodes: Mapping[str, tuple[Layer, str]], outputs: tuple[str, ...]) -> bool:
    features_graph = net.layers.get("features") if isinstance(net, Graph) else None
    return (
        isinstance(features_graph, Graph)
        and features_graph.nodes == nodes
        and features_graph.outputs == outputs[: len(features_graph.outputs)]
    )


def backbone_path(path: str) -> str:
    """Return the path in the backbone's features of the parameter at `path` in an FCN's features."""
    stage, _, layer_path = path.partition(".")
    stage_name = stage.removesuffix("_expand")
    return f"{stage_name}.block1.body.{layer_path}" if stage_name != stage else path


def _network(classes: int, backbone: Backbone, epsilon: float, skips: int) -> Graph:
    check_known("no backbone", backbone, get_args(Backbone))
    nodes, output_nodes, stride, centred = feature_nodes(backbone, epsilon)
    output_nodes = output_nodes[: skips + 1]
    graph_nodes = {
        "features": (Graph(nodes, output_nodes), "input"),
        "head": (_head(classes, output_nodes, stride, centred), "features"),
        "crop": (Crop(), "head", "input"),
    }
    return Graph(graph_nodes, ("crop",))


def _head(classes: int, output_nodes: tuple[str, ...], stride: int, centred: bool) -> Layer:
    """Return a head that adds the scores of the maps, coarse to fine, and upsamples to at least the image's size."""
    inputs = ("maps", *(f"skip{number}" for number in range(1, len(output_nodes))))
    nodes: dict[str, tuple[Layer | str, ...]] = {
        "dropout": (Dropout(0.2), "maps"),
        "scores": (Conv2d(classes, 1, init_weight=LOGITS_INITIALIZER), "dropout"),
    }
    current = "scores"
    for skip in inputs[1:]:
        nodes[f"enlarge_{skip}"] = (_upsampling(classes, 2, centred), current)
        nodes[f"scores_{skip}"] = (Conv2d(classes, 1, init_weight=LOGITS_INITIALIZER), skip)
        nodes[f"crop_{skip}"] = (Crop(), f"enlarge_{skip}", f"scores_{skip}")
        current = f"add_{skip}"
        nodes[current] = (Add(), f"crop_{skip}", f"scores_{skip}")
        stride //= 2
    nodes["enlarge"] = (_upsampling(classes, stride, centred), current)
    return Graph(nodes, ("enlarge",), inputs)


def _upsampling(classes: int, factor: int, centred: bool) -> ConvTranspose2d:
    """Return learned upsampling by a `factor`, one kernel per class, initialized to bilinear interpolation.

    centred: whether an input pixel is in the middle of its factor x factor output pixels, or at their upper left one.
    """
    kernel, padding, output_padding = (
        (2 * factor, factor // 2, 0) if centred else (2 * factor - 1, factor - 1, factor - 1)
    )
    return ConvTranspose2d(
        classes, kernel, stride=factor, padding=padding, output_padding=output_padding,
        groups=classes, bias=False, init_weight="bilinear",
    )  # fmt: skip


def feature_nodes(backbone: str, epsilon: float) -> tuple[dict[str, tuple[Layer, str]], tuple[str, ...], int, bool]:
    """Return a backbone's nodes, the names of its output nodes (coarse to fine), the largest stride, and `centred`.

    centred: see `_upsampling`.
    """
    if backbone == "mobilenet_v2":
        stages = _split_expansions(features(mobilenet_v2(epsilon=epsilon)))
        return chain(stages, "input"), ("last", "stage6_expand", "stage4_expand"), 32, False
    if backbone == "airbench96":
        layers = {"pad": Pad2d((0, 1, 0, 1), kind="replicate"), **_with_ceil_mode(features(airbench96()))}
        return chain(layers, "input"), ("stage3", "stage2", "stage1"), 8, True
    return chain(_with_ceil_mode(features(VGG[backbone]())), "input"), ("block5", "block4", "block3"), 32, True


def _split_expansions(net: Layer) -> dict[str, Layer]:
    """Return MobileNetV2's stages by name; the expansions in EXPANDED_STAGES become separate stages NAME_expand."""
    assert isinstance(net, Sequential)
    stages: dict[str, Layer] = {}
    for name, stage in net.children.items():
        if name not in EXPANDED_STAGES:
            stages[name] = stage
            continue
        assert isinstance(stage, Sequential)
        block = stage.children["block1"]
        assert isinstance(block, Sequential)  # a block with a stride has no shortcut
        body = block.children["body"]
        assert isinstance(body, Sequential)
        expansion = {key: layer for key, layer in body.children.items() if key.startswith("expand")}
        rest_of_body = {key: layer for key, layer in body.children.items() if key not in expansion}
        stages[f"{name}_expand"] = Sequential(**expansion)
        stages[name] = Sequential(**{**stage.children, "block1": Sequential(body=Sequential(**rest_of_body))})
    return stages


def _with_ceil_mode(net: Layer) -> dict[str, Layer]:
    """Return the stages by name, with ceil_mode=True in max pooling, so an odd last row or column is not dropped."""
    assert isinstance(net, Sequential)
    return {
        name: map_layers(stage, lambda layer: replace(layer, ceil_mode=True) if isinstance(layer, MaxPool2d) else layer)
        for name, stage in net.children.items()
    }
