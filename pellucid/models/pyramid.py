"""Backbones of detectors: maps of three sizes, with batch normalization folded into the convolutions or replaced."""

from typing import Literal, get_args

import torch

from pellucid.base.settings.checks import check_known
from pellucid.combine import Graph, Sequential
from pellucid.combine.base import map_layers, uses_flow
from pellucid.layers import BatchNorm, GroupNorm, Identity
from pellucid.layers.base import Layer, Params
from pellucid.models.fcn import backbone_path, feature_nodes
from pellucid.models.parts import chain
from pellucid.models.resnet import resnet18, resnet34, resnet50
from pellucid.models.structure import features
from pellucid.nested import flatten, nest
from pellucid.rules.fold import fold

Pyramid = Literal["mobilenet_v2", "airbench96", "resnet18", "resnet34", "resnet50", "vgg11", "vgg13", "vgg16"]
RESNETS = {"resnet18": resnet18, "resnet34": resnet34, "resnet50": resnet50}


def pyramid(backbone: Pyramid = "mobilenet_v2", groups: int = 0) -> Layer:
    """Return a backbone for images of any size; it outputs the tuple of its maps at strides 8, 16 and 32, fine first.

    For "airbench96" (the shipped `cifar` model) the strides are 2, 4 and 8. The maps of MobileNetV2 are the expansions
    of the first blocks of stages 4 and 6, and the output of stage 7; the maps of ResNet are the outputs of stages 2 to
    4, those of VGG the outputs of blocks 3 to 5. Batch normalization is folded into the convolutions, so it is not
    trained; use trained weights, see `pyramid_params`. groups: above 0, group normalization with this number of groups
    takes its place, which trains without such weights, also with two images in a batch (Wu and He 2018).
    """
    net = _backbone_graph(backbone, 1e-5)
    if groups:
        return map_layers(net, lambda layer: GroupNorm(groups) if isinstance(layer, BatchNorm) else layer)
    with torch.device("meta"):  # values are not needed, because they do not affect which layers are folded
        params, _ = net.init((3, 64, 64), torch.Generator())
    return _without_identities(fold(net, params)[0])


def strides(backbone: Pyramid) -> tuple[int, int, int]:
    """Return the strides of a pyramid's maps, in pixels."""
    return (2, 4, 8) if backbone == "airbench96" else (8, 16, 32)


def backbone_name(net: Layer) -> Pyramid | None:
    """Return the name of the backbone whose `pyramid` equals a network, None for any other network."""
    return next((name for name in get_args(Pyramid) if pyramid(name) == net), None)


def pyramid_params(backbone: Pyramid, zoo_params: Params, epsilon: float) -> Params:
    """Return parameters with which a pyramid computes the same maps as a network of the zoo in evaluation mode.

    zoo_params: the parameters of the features of the zoo network. epsilon: of its batch normalization.
    """
    net = _backbone_graph(backbone, epsilon)
    zoo_leaves = flatten(zoo_params)
    with torch.device("meta"):
        structure, _ = net.init((3, 64, 64), torch.Generator())
    params = nest(structure, {path: zoo_leaves[backbone_path(path)] for path in flatten(structure)})
    folded_leaves = flatten(fold(net, params)[1])
    with torch.device("meta"):
        folded_structure, _ = pyramid(backbone).init((3, 64, 64), torch.Generator())
    return nest(folded_structure, {path: folded_leaves[path] for path in flatten(folded_structure)})


def _backbone_graph(backbone: str, epsilon: float) -> Graph:
    check_known("no backbone", backbone, get_args(Pyramid))
    if backbone in RESNETS:
        stages = features(RESNETS[backbone](epsilon=epsilon))
        assert isinstance(stages, Sequential)
        return Graph(chain(stages.children, "input"), ("stage2", "stage3", "stage4"))
    nodes, output_nodes, _, _ = feature_nodes(backbone, epsilon)
    if backbone == "mobilenet_v2":
        nodes = {name: node for name, node in nodes.items() if name != "last"}
        output_nodes = ("stage7", *output_nodes[1:])
    return Graph(nodes, output_nodes[::-1])


def _without_identities(net: Layer) -> Layer:
    """Return the network without the Identity layers in its Sequentials, which folding leaves behind."""
    if not uses_flow(net):
        return net
    layers = {name: _without_identities(child) for name, child in net.layers.items()}
    if type(net) is Sequential:
        layers = {name: child for name, child in layers.items() if type(child) is not Identity}
    return net.rebuild(layers)
