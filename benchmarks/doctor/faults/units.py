"""Faults of units, weights and gradients."""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.doctor.fault import Fault
from benchmarks.doctor.faults.ways import DENSE, Make, begun, damaged, exchanged, learned, parts, rate, taught
from benchmarks.doctor.settings import Setting
from pellucid.combine import Sequential
from pellucid.doctor import Case
from pellucid.layers import Conv2d, Dense, Flatten, ReLU, Sigmoid, Tanh
from pellucid.layers.base import Layer, Mode, Params, Shape
from pellucid.losses import Loss
from pellucid.model import Model
from pellucid.optim import Momentum


def low_biases(by: float) -> Make:
    """Begin the biases of hidden layers below 0."""

    def touch(model: Model) -> None:
        for bias in learned(model, "bias")[:-1]:
            bias.fill_(-by)

    return begun(touch)


def with_act(layer: Layer, act: type[Layer] | None) -> Layer:
    """Return the layer, or `act` in the place of an activation."""
    return act() if act is not None and isinstance(layer, ReLU | Sigmoid | Tanh) else layer


def normal_weights(act: type[Layer] | None) -> Make:
    """Draw the layers' weights from N(0, 1), with all activations `act`."""

    def change(layer: Layer) -> Layer:
        return replace(layer, init_weight="normal") if isinstance(layer, Dense | Conv2d) else with_act(layer, act)

    return lambda setting: exchanged(setting, change).train()


def times(factor: float, act: type[Layer] | None = None) -> Make:
    """Begin with hidden weights so many times too large, with all activations `act`."""

    def touch(model: Model) -> None:
        for weight in learned(model)[:-1]:
            weight.mul_(factor)

    return lambda setting: begun(touch)(exchanged(setting, lambda layer: with_act(layer, act)))


def deep(layers: int, act: type[Layer], init: str, factor: float = 1.0) -> Make:
    """Train so many hidden layers of 32 units without normalisation."""

    def net(classes: int) -> Layer:
        body = [part for _ in range(layers) for part in (Dense(32, init_weight=init), act())]
        return Sequential(Flatten(), *body, Dense(classes, init_weight=init))

    def touch(model: Model) -> None:
        for weight in learned(model):
            weight.mul_(factor)

    return begun(touch, net=net, optimizer=Momentum(0.02))


def all_at(value: float) -> Make:
    """Begin all weights of layers at one value, over the square root of the number of inputs."""

    def touch(model: Model) -> None:
        for weight in learned(model):
            weight.fill_(value / weight[0].numel() ** 0.5)

    return begun(touch)


def last_at_zero(model: Model) -> None:
    """Begin hidden weights at one small value and the last layer's at 0."""
    *hidden, last = learned(model)
    for weight in hidden:
        weight.fill_(0.02)
    last.zero_()


def widen(noise: float) -> Make:
    """Let the second half of each hidden layer's units copy the first, with half of what each handed on."""

    def touch(model: Model) -> None:
        rng = torch.Generator().manual_seed(model.seed)
        biases = learned(model, "bias")
        for (weight, after), bias in zip(pairwise(learned(model)), biases, strict=False):
            half = copied(weight, bias, noise, rng)
            by_unit = after.view(len(after), len(weight), -1)  # each unit's columns, which Flatten keeps together
            by_unit[:, half : 2 * half] = by_unit[:, :half]
            after.div_(2)

    return begun(touch)


def loaded_twice(noise: float) -> Make:
    """After training, let the second half of each hidden layer's units be the first again."""

    def touch(model: Model) -> None:
        rng = torch.Generator().manual_seed(model.seed)
        for weight, bias in list(zip(learned(model), learned(model, "bias"), strict=True))[:-1]:
            copied(weight, bias, noise, rng)

    return damaged(touch)


def copied(weight: Tensor, bias: Tensor, noise: float, rng: torch.Generator) -> int:
    """Make the second half of a layer's units copies of the first; return how many that are."""
    half = len(weight) // 2
    weight[half : 2 * half] = weight[:half] * (1 + noise * torch.randn(weight[:half].shape, generator=rng))
    bias[half : 2 * half] = bias[:half]
    return half


def never_loaded(share: float) -> Make:
    """After training, let the last share of each hidden layer's units be what no file had weights for."""

    def touch(model: Model) -> None:
        last = learned(model, "bias")[-1]
        for weight in learned(model)[:-1]:
            weight[int(len(weight) * (1 - share)) :] = 0.0
        for path, value in model.weights.items():
            if path.endswith("bias") and value is not last:
                value[int(len(value) * (1 - share)) :] = 0.5  # alive, and the same for every example

    return damaged(touch)


def gamma(x: Tensor, rng: torch.Generator) -> Tensor:
    """Shift the brightness and bend it: below 0, a power of 0.7 is NaN."""
    shift = torch.rand(len(x), 1, 1, 1, generator=rng) * 0.4 - 0.2
    return (x + shift) ** 0.7


def per_image(x: Tensor, rng: torch.Generator) -> Tensor:
    """Cut a random quarter out and standardise it: a quarter without ink has deviation 0."""
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
    """Divide each example by its length, without the small number that an example of zeros would need."""

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


def divides(setting: Setting) -> Case:
    """Put a narrow layer and a division by its length before the last layer: some examples give zeros only."""

    def net(classes: int) -> Layer:
        *first, last = parts(setting.net(classes))
        return Sequential(*first, Dense(4), ReLU(), ToUnitLength(), last)

    return setting.but(net=net).train()


@dataclass(frozen=True)
class NaiveCrossEntropy(Loss):
    """-Σ t ln p + (1 - t) ln(1 - p), written as in a textbook: p = t = 1 gives 0 times infinity."""

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return (value, dy)."""
        n, p = len(y), torch.sigmoid(y)
        t = torch.nn.functional.one_hot(target.long(), y.shape[1]).to(y.dtype)
        return -(t * p.log() + (1 - t) * (1 - p).log()).sum() / n, (p - t) / n

    def check(self, outputs: Shape, targets: Tensor) -> None:
        """Take any classes."""

    def predict(self, y: Tensor) -> Tensor:
        """Return probabilities."""
        return torch.sigmoid(y)


def sharp(model: Model) -> None:
    """Begin with a last layer whose scores are rather large."""
    learned(model)[-1].mul_(8.0)


def corrupt(model: Model) -> None:
    """Lose one unit's weights."""
    learned(model)[-2][7].fill_(float("nan"))


RELUS = (
    ("digits-relu", "mnist-relu", "mnist-conv", "digits-conv", "mnist-norm", "signs-norm"),
    "the others have no ReLU",
)
RELU = ("digits-relu", "mnist-relu", "mnist-conv"), "the others have no ReLU, or a norm before it that holds it alive"
PLAIN = (
    ("digits-sigmoid", "digits-relu", "mnist-tanh", "mnist-relu", "mnist-conv"),
    "a norm before an activation keeps it from saturating",
)
FEW = (
    PLAIN[0][:-1],
    f"{PLAIN[1]}, and filters of mnist-conv have too few inputs for it",
)
ALIKE = (
    ("digits-sigmoid", "digits-relu", "digits-conv", "mnist-tanh", "mnist-conv", "mnist-norm", "signs-norm"),
    "dropout behind each layer of mnist-relu tells the units apart again",
)
LARGE = (
    ("digits-relu", "mnist-tanh", "mnist-relu", "mnist-conv", "digits-conv", "mnist-norm", "signs-norm"),
    "digits-sigmoid keeps its scores too small for it",
)
LOUD = (
    ("digits-relu", "mnist-relu", "mnist-conv", "mnist-norm", "signs-norm"),
    "the others have no ReLU, but for digits-conv, which learns all the same",
)

FAULTS: tuple[Fault, ...] = (
    Fault("dead-units", "hidden biases begin at -8", low_biases(8.0), *RELU),
    Fault("dead-units", "hidden biases begin at -5", low_biases(5.0), *RELU),
    Fault("dead-units", "learning rate 30 times too high", rate(30.0), *RELUS),
    Fault("saturated-units", "weights from N(0, 1), sigmoid", normal_weights(Sigmoid), *FEW),
    Fault("saturated-units", "weights from N(0, 1), tanh", normal_weights(Tanh), *PLAIN),
    Fault("saturated-units", "weights 6 times too large, tanh", times(6.0, Tanh), *PLAIN),
    Fault("vanishing-gradients", "6 layers of sigmoids", deep(6, Sigmoid, "xavier"), *DENSE),
    Fault("vanishing-gradients", "4 layers of sigmoids", deep(4, Sigmoid, "scaled"), *DENSE),
    Fault("vanishing-gradients", "5 ReLU layers, weights 10 times too small", deep(5, ReLU, "he", 0.1), *DENSE),
    Fault("vanishing-gradients", "4 tanh layers, weights 20 times too small", deep(4, Tanh, "xavier", 0.05), *DENSE),
    Fault("exploding-gradients", "weights from N(0, 1), ReLU", normal_weights(None), *LOUD),
    Fault("exploding-gradients", "8 ReLU layers, weights twice too large", deep(8, ReLU, "he", 2.0), *DENSE),
    Fault("exploding-gradients", "4 ReLU layers, weights 5 times too large", deep(4, ReLU, "he", 5.0), *DENSE),
    Fault("symmetric-init", "all weights begin at 0", all_at(0.0)),
    Fault("symmetric-init", "all weights of a layer begin at one value", all_at(1.0)),
    Fault("symmetric-init", "hidden weights begin at 0.02, the last at 0", begun(last_at_zero), *ALIKE),
    Fault("duplicate-maps", "widened without noise", widen(0.0)),
    Fault("duplicate-maps", "widened with a thousandth of noise", widen(1e-3), *ALIKE),
    Fault("duplicate-maps", "half of the maps loaded twice", loaded_twice(0.0)),
    Fault("duplicate-maps", "half of the maps nearly alike", loaded_twice(0.05)),
    Fault("useless-maps", "half of the maps were never loaded", never_loaded(0.5)),
    Fault("useless-maps", "seven tenths of the maps were never loaded", never_loaded(0.7)),
    Fault("nan-origin", "a power of negative brightness", taught(augment=gamma)),
    Fault("nan-origin", "divided by a quarter's deviation", taught(augment=per_image)),
    Fault("nan-origin", "a layer divides by 0", divides),
    Fault("nan-origin", "a loss takes the logarithm of 0", begun(sharp, loss=NaiveCrossEntropy()), *LARGE),
    Fault("nan-origin", "one unit's weights are lost", damaged(corrupt)),
)
