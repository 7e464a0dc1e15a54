"""User-defined classes for tests: a layer, a loss, metrics, an optimizer, a schedule, a regularizer, a callback."""

from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from pellucid import Callback, Layer, Loss, Metric, Optimizer, Regularizer, Schedule
from pellucid.combine import Sequential
from pellucid.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU
from pellucid.model import Model


class ScaleCache(NamedTuple):
    x: Tensor


@dataclass(frozen=True)
class Scale(Layer):
    """Multiply each channel by a learned factor, and add noise in training."""

    decayed: ClassVar[tuple[str, ...]] = ("factor",)

    start: float = 1.0
    noise: float = 0.0

    def init(self, shape, rng):
        return {"factor": torch.full((shape[0], 1, 1), self.start)}, shape

    def forward(self, params, x, mode):
        y = params["factor"] * x
        if mode.train and self.noise:
            y = y + self.noise * torch.randn(x.shape, generator=mode.rng)
        return y, ScaleCache(x)

    def backward(self, params, cache, dy):
        return params["factor"] * dy, {"factor": (cache.x * dy).sum((0, 2, 3)).view(-1, 1, 1)}

    def onnx(self, nodes):
        nodes.last("Mul", nodes.x, nodes.param("factor"))


@dataclass(frozen=True)
class OwnFocal(Loss):
    """C = -1/n Σ (1 - p)^gamma ln p, with the target's probability p. Source: Lin et al. 2017, equation 4."""

    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)

    gamma: float = 2.0

    def compute(self, y, target):
        a = y.softmax(1)
        p = a.gather(1, target[:, None])  # (n, 1)
        by_p = self.gamma * (1 - p) ** (self.gamma - 1) * p.log() - (1 - p) ** self.gamma / p
        value = -((1 - p) ** self.gamma * p.log()).mean()
        return value, by_p * p * (torch.nn.functional.one_hot(target, y.shape[1]) - a) / len(y)


@dataclass
class Errors(Metric):
    """The fraction of wrong predictions, updated batch by batch."""

    lower_is_better: ClassVar[bool] = True

    name: str = "errors"
    wrong: int = field(default=0, init=False)
    n_examples: int = field(default=0, init=False)

    def update(self, outputs, targets):
        self.wrong += int((outputs.argmax(1) != targets).sum())
        self.n_examples += len(targets)

    def compute(self):
        return {self.name: self.wrong / self.n_examples}


def output_std(outputs, targets):
    """Return the standard deviation of all outputs."""
    return outputs.std()


@dataclass(frozen=True)
class Lion(Optimizer):
    """w ← w - lr sign(b1 m + (1 - b1) g). Source: Chen et al. 2023, algorithm 2."""

    lr: float = 0.003
    beta1: float = 0.9
    beta2: float = 0.99

    def init(self, params):
        return {"mean": [torch.zeros_like(param) for param in params], "step": 0}

    def update(self, params, grads, state, lr):
        state["step"] += 1
        for param, grad, mean in zip(params, grads, state["mean"], strict=True):
            param.sub_(lr * (self.beta1 * mean + (1 - self.beta1) * grad).sign())
            mean.mul_(self.beta2).add_(grad, alpha=1 - self.beta2)


@dataclass(frozen=True)
class HalveOnPlateau(Schedule):
    """Halve the learning rate after each epoch whose validation loss is not below the best one."""

    def begin(self):
        return {"factor": 1.0, "best": 1e9}

    def factor(self, now, memory):
        return memory["factor"]

    def observe(self, memory, loss):
        worse = loss >= memory["best"]
        return {"factor": memory["factor"] * (0.5 if worse else 1.0), "best": min(loss, memory["best"])}


@dataclass(frozen=True)
class QuarticPenalty(Regularizer):
    """The penalty lam Σ w⁴, as a term of the loss or decoupled."""

    lam: float = 0.01

    def cost(self, weights, n):
        return self.lam / n * sum((w**4).sum() for w in weights)

    def add_gradient(self, weights, grads, n):
        for w, g in zip(weights, grads, strict=True):
            g.add_(4 * self.lam / n * w**3)

    def shrink(self, weights, lr):
        for w in weights:
            w.sub_(lr * 4 * self.lam * w**3)


class WeightAverage(Callback):
    """Replace the weights at the end by the mean of the weights after each epoch."""

    def __init__(self):
        self.epochs, self.sums = 0, {}

    def on_epoch_end(self, training, row):
        self.epochs += 1
        for path, weight in training.model.weights.items():
            self.sums[path] = self.sums.get(path, 0) + weight

    def on_end(self, training):
        for path, weight in training.model.weights.items():
            weight.copy_(self.sums[path] / self.epochs)

    def state_dict(self):
        return {"epochs": self.epochs, **self.sums}

    def load_state_dict(self, state):
        self.epochs = state["epochs"]
        self.sums = {path: one.clone() for path, one in state.items() if path != "epochs"}


PARTS = (Scale, OwnFocal, Errors, output_std)


def network():
    return Sequential(
        conv=Conv2d(4, 3, padding=1), scale=Scale(1.5, noise=0.1), relu=ReLU(), pool=MaxPool2d(2), flatten=Flatten(),
        scores=Dense(10),
    )  # fmt: skip


def model(**options):
    return Model(
        network(), OwnFocal(1.5), Lion(), metrics=("accuracy", Errors(), output_std), schedule=HalveOnPlateau(),
        regularizer=QuarticPenalty(),
        **options,
    )  # fmt: skip
