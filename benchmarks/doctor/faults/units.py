"""Faults of units, initial weights and gradients.

Functions that return a `Make` return a function that trains a setting with the described fault, and returns the case.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.doctor.fault import Fault
from benchmarks.doctor.faults.ways import (
    Make,
    alter_trained,
    layers_of,
    modify_start,
    train_with,
    trainable_tensors,
)
from benchmarks.doctor.settings import Setting
from pellucid.combine import Sequential
from pellucid.doctor import Case
from pellucid.layers import Dense, ReLU
from pellucid.layers.base import Layer, Mode, Params, Shape
from pellucid.losses import Loss
from pellucid.model import Model


def constant_weights(value: float) -> Make:
    """Start with all weights of a layer at `value` divided by the square root of its number of inputs."""

    def modify(model: Model) -> None:
        for weight in trainable_tensors(model):
            weight.fill_(value / weight[0].numel() ** 0.5)

    return modify_start(modify)


def zero_last_layer(model: Model) -> None:
    """Start with hidden weights at 0.02 and those of the last layer at 0."""
    *hidden, last = trainable_tensors(model)
    for weight in hidden:
        weight.fill_(0.02)
    last.zero_()


def gamma_augment(x: Tensor, rng: torch.Generator) -> Tensor:
    """Shift the brightness, and apply a gamma of 0.7, which gives NaN for negative values."""
    shift = torch.rand(len(x), 1, 1, 1, generator=rng) * 0.4 - 0.2
    return (x + shift) ** 0.7


def standardise_patch(x: Tensor, rng: torch.Generator) -> Tensor:
    """Standardise images by a random patch of a quarter of their side; an empty patch has standard deviation 0."""
    side = x.shape[-1] // 4
    top, left = torch.randint(0, x.shape[-1] - side + 1, (2,), generator=rng).tolist()
    part = x[:, :, top : top + side, left : left + side]
    return (x - part.mean((1, 2, 3), keepdim=True)) / part.std((1, 2, 3), keepdim=True)


class NormCache(NamedTuple):
    """The input and its norms."""

    x: Tensor
    norm: Tensor


@dataclass(frozen=True)
class ToUnitLength(Layer):
    """Divide each example by its norm, without an epsilon for an example of zeros."""

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters."""
        return {}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, NormCache]:
        """Compute x / |x|."""
        norm = x.norm(dim=1, keepdim=True)
        return x / norm, NormCache(x, norm)

    def backward(self, params: Params, cache: NormCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute (dy - y (y dy)) / |x|."""
        y = cache.x / cache.norm
        return (dy - y * (y * dy).sum(1, keepdim=True)) / cache.norm, {}


def divide_by_length(setting: Setting) -> Case:
    """Insert a ReLU layer of 4 units and a division by its norm, which is 0 for some examples."""

    def net(classes: int) -> Layer:
        *first, last = layers_of(setting.net(classes))
        return Sequential(*first, Dense(4), ReLU(), ToUnitLength(), last)

    return setting.replace(net=net).train()


@dataclass(frozen=True)
class NaiveCrossEntropy(Loss):
    """-Σ t ln p + (1 - t) ln(1 - p), computed as written: p = t = 1 gives 0 times infinity."""

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss and its gradient dy with respect to y."""
        n, p = len(y), torch.sigmoid(y)
        t = torch.nn.functional.one_hot(target.long(), y.shape[1]).to(y.dtype)
        return -(t * p.log() + (1 - t) * (1 - p).log()).sum() / n, (p - t) / n

    def check(self, outputs: Shape, targets: Tensor) -> None:
        """Accept any targets."""

    def predict(self, y: Tensor) -> Tensor:
        """Return probabilities."""
        return torch.sigmoid(y)


def scale_last_layer(model: Model) -> None:
    """Start with the weights of the last layer multiplied by 8, which gives large scores."""
    trainable_tensors(model)[-1].mul_(8.0)


def lose_unit(model: Model) -> None:
    """Set the weights of one unit to NaN."""
    trainable_tensors(model)[-2][7].fill_(float("nan"))


WITHOUT_DROPOUT = (
    ("digits-sigmoid", "digits-relu", "digits-conv", "mnist-tanh", "mnist-conv", "mnist-norm", "signs-norm"),
    "dropout after each layer of mnist-relu makes the units different again",
)
LARGE_SCORES = (
    ("digits-relu", "mnist-tanh", "mnist-relu", "mnist-conv", "digits-conv", "mnist-norm", "signs-norm"),
    "digits-sigmoid keeps its scores too small for it",
)

FAULTS: tuple[Fault, ...] = (
    Fault("symmetric-init", "all weights begin at 0", constant_weights(0.0)),
    Fault("symmetric-init", "all weights of a layer begin at one value", constant_weights(1.0)),
    Fault(
        "symmetric-init", "hidden weights begin at 0.02, the last at 0", modify_start(zero_last_layer), *WITHOUT_DROPOUT
    ),
    Fault("nan-origin", "a power of negative brightness", train_with(augment=gamma_augment)),
    Fault("nan-origin", "divided by a quarter's deviation", train_with(augment=standardise_patch)),
    Fault("nan-origin", "a layer divides by 0", divide_by_length),
    Fault(
        "nan-origin",
        "a loss takes the logarithm of 0",
        modify_start(scale_last_layer, loss=NaiveCrossEntropy()),
        *LARGE_SCORES,
    ),
    Fault("nan-origin", "one unit's weights are lost", alter_trained(lose_unit)),
)
