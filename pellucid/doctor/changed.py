"""Cases with other examples, and layers with other first weights: what several remedies share."""

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from pellucid.combine.base import map_layers
from pellucid.data.source import Arrays
from pellucid.doctor.case import Case
from pellucid.doctor.mending import rebuilt
from pellucid.layers import Conv2d, ConvTranspose2d, Dense
from pellucid.layers.base import Layer


def only(case: Case, kept: Tensor) -> Case:
    """Return the case of a training with some of its examples; kept: their places, or which they are (N,)."""
    part = case.train
    return rebuilt(replace(case, train=Arrays(part.x[kept], part.y[kept], part.classes, "")))


def with_layers(case: Case, change: Callable[[Layer], Layer], keep: bool = False) -> Case:
    """Return the case of the network with `change` of each of its layers, and weights drawn anew, or kept."""
    return rebuilt(case, keep, net=map_layers(case.model.net, change))


def as_he(layer: Layer) -> Layer:
    """Return a layer that draws its weights as He 2015 and begins with biases of 0; layers without weights stay."""
    if isinstance(layer, Dense | Conv2d | ConvTranspose2d):
        return replace(layer, init_weight="he", init_bias="zeros")
    return layer
