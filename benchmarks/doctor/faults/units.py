"""Faults of units, weights and gradients."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.doctor.fault import Fault
from benchmarks.doctor.settings import Setting
from pellucid.combine import Sequential
from pellucid.data import Dataset
from pellucid.doctor import Case
from pellucid.doctor.measure.learners import learners
from pellucid.doctor.remade import remade
from pellucid.doctor.renewed import renewed
from pellucid.layers import Conv2d, Dense, Flatten, ReLU, Sigmoid, Tanh
from pellucid.layers.base import Layer, Mode, Params, Shape
from pellucid.losses import Loss
from pellucid.optim import Momentum, Regularizer
from pellucid.train.model import Model
from pellucid.tree import flatten

Touch = Callable[[Model], None]
RELU = ("digits-relu", "mnist-relu", "mnist-conv")
PLAIN = ("digits-sigmoid", "digits-relu", "mnist-tanh", "mnist-relu", "mnist-conv")
NORMED = ("digits-conv", "mnist-norm", "signs-norm")
UNDROPPED = ("digits-sigmoid", "digits-relu", "digits-conv", "mnist-tanh", "mnist-conv", "mnist-norm")
DEEP = ("digits-sigmoid", "digits-relu", "mnist-tanh", "mnist-relu")


@dataclass(frozen=True, eq=False)
class Begun(Setting):
    """A setting whose first weights are changed by hand."""

    touch: Touch = lambda model: None

    def build(self, train: Dataset) -> Model:
        """Return the model before its first step."""
        model = super().build(train)
        self.touch(model)
        return model


def begun(setting: Setting, touch: Touch) -> Setting:
    """Return the setting with other first weights."""
    return Begun(**vars(setting), touch=touch)


def damaged(case: Case, touch: Touch) -> Case:
    """Return the case with weights that were changed after training."""
    model = remade(case.model)
    held = flatten(case.model.params)
    for path, value in flatten(model.params).items():
        value.copy_(held[path])
    touch(model)
    return replace(case, model=model)


def faster(factor: float) -> Callable[[Setting], Case]:
    """Train at a learning rate so many times too high."""

    def make(setting: Setting) -> Case:
        return setting.but(optimizer=replace(setting.optimizer, lr=setting.optimizer.lr * factor)).train()

    return make


def exchanged(setting: Setting, change: Callable[[Layer], Layer]) -> Setting:
    """Return the setting with other layers."""
    return setting.but(net=lambda classes: renewed(setting.net(classes), change))


def hidden(model: Model) -> list[tuple[str, Tensor]]:
    """Return (path, weight) of the layers that learn, but for the last one."""
    held = flatten(model.params)
    return [(path, held[weight]) for path, weight in learners(model)[:-1]]


def low_biases(by: float) -> Callable[[Setting], Case]:
    """Begin the biases of hidden layers below 0."""

    def touch(model: Model) -> None:
        held = flatten(model.params)
        for path, _ in learners(model)[:-1]:
            held[f"{path}.bias"].fill_(-by)

    return lambda setting: begun(setting, touch).train()


def normal_weights(setting: Setting, act: type[Layer] | None) -> Setting:
    """Draw the hidden layers' weights from N(0, 1), with all activations `act`."""

    def change(layer: Layer) -> Layer:
        if isinstance(layer, Dense | Conv2d):
            return replace(layer, init_weight="normal")
        return act() if act is not None and isinstance(layer, ReLU | Sigmoid | Tanh) else layer

    return exchanged(setting, change)


def times(factor: float, act: type[Layer] | None = None) -> Callable[[Setting], Case]:
    """Begin with weights so many times too large, with all activations `act`."""

    def touch(model: Model) -> None:
        for _, weight in hidden(model):
            weight.mul_(factor)

    def change(layer: Layer) -> Layer:
        return act() if act is not None and isinstance(layer, ReLU | Sigmoid | Tanh) else layer

    return lambda setting: begun(exchanged(setting, change), touch).train()


def deep(layers: int, act: type[Layer], init: str, factor: float = 1.0) -> Callable[[Setting], Case]:
    """Train so many hidden layers of 32 units without normalisation."""

    def net(classes: int) -> Layer:
        body = [part for _ in range(layers) for part in (Dense(32, init_weight=init), act())]
        return Sequential(Flatten(), *body, Dense(classes, init_weight=init))

    def touch(model: Model) -> None:
        for _, weight in learners(model):
            flatten(model.params)[weight].mul_(factor)

    return lambda setting: begun(setting.but(net=net, optimizer=Momentum(0.02)), touch).train()


def all_at(value: float) -> Callable[[Setting], Case]:
    """Begin all weights of layers at one value, over the square root of the number of inputs."""

    def touch(model: Model) -> None:
        held = flatten(model.params)
        for _, weight in learners(model):
            held[weight].fill_(value / held[weight][0].numel() ** 0.5)

    return lambda setting: begun(setting, touch).train()


def last_at_zero(setting: Setting) -> Case:
    """Begin hidden weights at one small value and the last layer's at 0.

    Dropout behind the hidden layers would tell the units apart again.
    """

    def touch(model: Model) -> None:
        held = flatten(model.params)
        for _, weight in hidden(model):
            weight.fill_(0.02)
        held[learners(model)[-1][1]].zero_()

    return begun(setting, touch).train()


def widen(model: Model, noise: float) -> None:
    """Let the second half of each hidden layer's units copy the first, with half of what each handed on."""
    held = flatten(model.params)
    paths = [path for path, _ in learners(model)]
    rng = torch.Generator().manual_seed(model.seed)
    for path, follows in pairwise(paths):
        weight, after = held[f"{path}.weight"], held[f"{follows}.weight"]
        half = len(weight) // 2
        copies = weight[:half] * (1 + noise * torch.randn(weight[:half].shape, generator=rng))
        weight[half : 2 * half] = copies
        held[f"{path}.bias"][half : 2 * half] = held[f"{path}.bias"][:half]
        by_unit = after.view(len(after), len(weight), -1)  # each unit's columns, which Flatten keeps together
        by_unit[:, half : 2 * half] = by_unit[:, :half]
        after.div_(2)


def loaded_twice(noise: float) -> Callable[[Setting], Case]:
    """After training, let the second half of each hidden layer's units be the first again."""

    def touch(model: Model) -> None:
        held = flatten(model.params)
        rng = torch.Generator().manual_seed(model.seed)
        for path, weight in hidden(model):
            half = len(weight) // 2
            fresh = weight[:half] * (1 + noise * torch.randn(weight[:half].shape, generator=rng))
            weight[half : 2 * half] = fresh
            held[f"{path}.bias"][half : 2 * half] = held[f"{path}.bias"][:half]

    return lambda setting: damaged(setting.train(), touch)


def never_loaded(share: float) -> Callable[[Setting], Case]:
    """Train with the last share of each hidden layer's units left at 0 and frozen out by their outgoing weights."""

    def touch(model: Model) -> None:
        held = flatten(model.params)
        for _, weight in hidden(model):
            weight[int(len(weight) * (1 - share)) :] = 0.0
        for path, layer in zip(held, held.values(), strict=True):
            if path.endswith("bias") and not path.startswith(learners(model)[-1][0]):
                layer[int(len(layer) * (1 - share)) :] = 0.5  # alive, and the same for every example

    return lambda setting: damaged(setting.train(), touch)


def regularized(wish: Regularizer) -> Callable[[Setting], Case]:
    """Train with a regularizer that is too strong."""
    return lambda setting: setting.but(model={**(setting.model or {}), "regularizer": wish}).train()


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


def augmented(by: Callable[[Tensor, torch.Generator], Tensor]) -> Callable[[Setting], Case]:
    """Train with an augmentation of this kind."""
    return lambda setting: setting.but(augment=by).train()


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
        body = setting.net(classes)
        assert isinstance(body, Sequential)
        *first, last = body.layers.values()
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


def naive(setting: Setting) -> Case:
    """Train with the textbook's loss, with a last layer whose scores are rather large."""

    def touch(model: Model) -> None:
        flatten(model.params)[learners(model)[-1][1]].mul_(8.0)

    return begun(setting.but(loss=NaiveCrossEntropy()), touch).train()


def corrupt(setting: Setting) -> Case:
    """Lose one unit's weights after training."""

    def touch(model: Model) -> None:
        hidden(model)[-1][1][7].fill_(float("nan"))

    return damaged(setting.train(), touch)


FAULTS: tuple[Fault, ...] = (
    Fault("dead-units", "hidden biases begin at -8", low_biases(8.0), RELU),
    Fault("dead-units", "hidden biases begin at -5", low_biases(5.0), RELU),
    Fault("dead-units", "learning rate 30 times too high", faster(30.0), RELU),
    Fault("saturated-units", "weights from N(0, 1), sigmoid", lambda s: normal_weights(s, Sigmoid).train(), PLAIN[:-1]),
    Fault("saturated-units", "weights from N(0, 1), tanh", lambda s: normal_weights(s, Tanh).train(), PLAIN),
    Fault("saturated-units", "weights 6 times too large, tanh", times(6.0, Tanh), PLAIN),
    Fault("vanishing-gradients", "6 layers of sigmoids", deep(6, Sigmoid, "xavier"), DEEP),
    Fault("vanishing-gradients", "4 layers of sigmoids", deep(4, Sigmoid, "scaled"), DEEP),
    Fault("vanishing-gradients", "5 ReLU layers, weights 10 times too small", deep(5, ReLU, "he", 0.1), DEEP),
    Fault("vanishing-gradients", "4 tanh layers, weights 20 times too small", deep(4, Tanh, "xavier", 0.05), DEEP),
    Fault("exploding-gradients", "weights from N(0, 1), ReLU", lambda s: normal_weights(s, None).train(), RELU),
    Fault("exploding-gradients", "8 ReLU layers, weights twice too large", deep(8, ReLU, "he", 2.0), DEEP),
    Fault("exploding-gradients", "4 ReLU layers, weights 5 times too large", deep(4, ReLU, "he", 5.0), DEEP),
    Fault("symmetric-init", "all weights begin at 0", all_at(0.0)),
    Fault("symmetric-init", "all weights of a layer begin at one value", all_at(1.0)),
    Fault("symmetric-init", "hidden weights begin at 0.02, the last at 0", last_at_zero, UNDROPPED),
    Fault("duplicate-maps", "widened without noise", lambda s: begun(s, lambda m: widen(m, 0.0)).train()),
    Fault(
        "duplicate-maps",
        "widened with a thousandth of noise",
        lambda s: begun(s, lambda m: widen(m, 1e-3)).train(),
        UNDROPPED,
    ),
    Fault("duplicate-maps", "half of the maps loaded twice", loaded_twice(0.0)),
    Fault("duplicate-maps", "half of the maps nearly alike", loaded_twice(0.05)),
    Fault("useless-maps", "half of the maps were never loaded", never_loaded(0.5)),
    Fault("useless-maps", "seven tenths of the maps were never loaded", never_loaded(0.7)),
    Fault("nan-origin", "a power of negative brightness", augmented(gamma)),
    Fault("nan-origin", "divided by a quarter's deviation", augmented(per_image)),
    Fault("nan-origin", "a layer divides by 0", divides),
    Fault("nan-origin", "a loss takes the logarithm of 0", naive, ("digits-relu", "mnist-relu", "mnist-conv", *NORMED)),
    Fault("nan-origin", "one unit's weights are lost", corrupt),
)
