"""Tiny colorizers."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pellucid.combine import Sequential
from pellucid.generators import Regression
from pellucid.layers import AvgPool2d, Conv2d, ReLU, Upsample
from pellucid.layers.base import Layer
from pellucid.losses import L1
from pellucid.model import Model


@dataclass(frozen=True)
class Hinted(Regression):
    """A regression that outputs the colours of hints at their pixels."""

    def predict(self, params: Any, images: Tensor, hints: Tensor | None = None) -> Tensor:
        predictions = super().predict(params, images)
        return predictions if hints is None else predictions * (1 - hints[:, 2:]) + hints[:, :2] * hints[:, 2:]


@dataclass(frozen=True)
class Flicker(Regression):
    """A regression whose colours depend on the mean of the picture."""

    def predict(self, params: Any, images: Tensor, hints: Tensor | None = None) -> Tensor:
        return super().predict(params, images) + 40 * (2000 * images.mean((1, 2, 3), keepdim=True)).sin()


CUSTOM_OBJECTIVES = (Hinted, Flicker)


def conv_net() -> Layer:
    return Sequential(conv=Conv2d(4, 3, padding=1), relu=ReLU(), ab=Conv2d(2, 1))


def halving_net() -> Layer:
    """Return a network for images whose sides are multiples of 2."""
    return Sequential(conv=Conv2d(4, 3, padding=1), relu=ReLU(), down=AvgPool2d(2), up=Upsample(2), ab=Conv2d(2, 1))


def colorizer(kind: type[Regression] = Regression, net: Layer | None = None, channels: int = 3) -> Model:
    """Return a colorizer for images of 16 x 16 pixels with initial weights."""
    objective = kind(net or conv_net(), L1("mean"), hints=kind is Hinted, multiple=2)
    return Model(objective, input_shape=(channels, 16, 16), seed=3)
