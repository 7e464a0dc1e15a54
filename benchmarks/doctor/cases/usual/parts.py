"""User-defined layers, losses, an optimizer and a schedule, with mistakes that users make in them."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from pellucid.layers.base import Layer, Mode, Params, Shape
from pellucid.losses.base import Loss
from pellucid.optim import Optimizer, Progress
from pellucid.optim.schedules import Plan


class TensorCache(NamedTuple):
    """A cache of one tensor."""

    x: Tensor


class PairCache(NamedTuple):
    """A cache of two tensors."""

    x: Tensor
    y: Tensor


class ShapeKeepingLayer(Layer):
    """A layer without parameters whose output has the shape of its input."""

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        return {}, shape


@dataclass(frozen=True)
class MySoftmax(ShapeKeepingLayer):
    """A softmax over one axis."""

    dim: int = 1

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, TensorCache]:
        y = torch.softmax(x, self.dim)
        return y, TensorCache(y)

    def backward(self, params: Params, cache: TensorCache, dy: Tensor) -> tuple[Tensor, Params]:
        return cache.x * (dy - (dy * cache.x).sum(self.dim, keepdim=True)), {}


@dataclass(frozen=True)
class MyLogSoftmax(ShapeKeepingLayer):
    """A log-softmax over one axis."""

    dim: int = 1

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, TensorCache]:
        y = torch.log_softmax(x, self.dim)
        return y, TensorCache(y)

    def backward(self, params: Params, cache: TensorCache, dy: Tensor) -> tuple[Tensor, Params]:
        return dy - cache.x.exp() * dy.sum(self.dim, keepdim=True), {}


@dataclass(frozen=True)
class MySigmoid(ShapeKeepingLayer):
    """A sigmoid. wrong: the derivative is computed from the input instead of the output."""

    wrong: bool = False

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, TensorCache]:
        y = torch.sigmoid(x)
        return y, TensorCache(x if self.wrong else y)

    def backward(self, params: Params, cache: TensorCache, dy: Tensor) -> tuple[Tensor, Params]:
        return dy * cache.x * (1 - cache.x), {}


@dataclass(frozen=True)
class MyFlatten(Layer):
    """Flatten to one row per image. mixed: from axes in the wrong order, which mixes images of the batch."""

    mixed: bool = False

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        return {}, (int(torch.Size(shape).numel()),)

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, TensorCache]:
        rows = x.transpose(0, 1) if self.mixed else x  # (C, N, H, W)
        return rows.reshape(len(x), -1), TensorCache(x.new_zeros(()).expand(x.shape))

    def backward(self, params: Params, cache: TensorCache, dy: Tensor) -> tuple[Tensor, Params]:
        n, c, *size = cache.x.shape
        return (dy.reshape(c, n, *size).transpose(0, 1) if self.mixed else dy.reshape(cache.x.shape)), {}


@dataclass(frozen=True)
class MyDropout(ShapeKeepingLayer):
    """Dropout that scales neither in training nor in evaluation."""

    rate: float = 0.5

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, TensorCache]:
        mask = torch.rand(x.shape, generator=mode.rng) >= self.rate if mode.train else torch.ones_like(x)
        return x * mask, TensorCache(mask.to(x.dtype))

    def backward(self, params: Params, cache: TensorCache, dy: Tensor) -> tuple[Tensor, Params]:
        return dy * cache.x, {}


@dataclass(frozen=True)
class MyDense(Layer):
    """A dense layer whose weights are drawn from [0, 1), as torch.rand draws them."""

    decayed: ClassVar[tuple[str, ...]] = ("weight",)

    units: int

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        weight = torch.rand(self.units, shape[-1], generator=rng)
        return {"weight": weight, "bias": torch.rand(self.units, generator=rng)}, (self.units,)

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, TensorCache]:
        return x @ params["weight"].t() + params["bias"], TensorCache(x)

    def backward(self, params: Params, cache: TensorCache, dy: Tensor) -> tuple[Tensor, Params]:
        return dy @ params["weight"], {"weight": dy.t() @ cache.x, "bias": dy.sum(0)}


@dataclass(frozen=True)
class Rounded(ShapeKeepingLayer):
    """Rounding, with derivative 0."""

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, TensorCache]:
        return x.round(), TensorCache(x)

    def backward(self, params: Params, cache: TensorCache, dy: Tensor) -> tuple[Tensor, Params]:
        return torch.zeros_like(dy), {}


@dataclass(frozen=True)
class Detached(ShapeKeepingLayer):
    """The identity, with derivative 0."""

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, TensorCache]:
        return x.clone(), TensorCache(x)

    def backward(self, params: Params, cache: TensorCache, dy: Tensor) -> tuple[Tensor, Params]:
        return torch.zeros_like(dy), {}


@dataclass(frozen=True)
class UnitLength(ShapeKeepingLayer):
    """Division of each pixel's channels by their norm, without an epsilon."""

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, PairCache]:
        length = x.square().sum(1, keepdim=True).sqrt()
        return x / length, PairCache(x / length, length)

    def backward(self, params: Params, cache: PairCache, dy: Tensor) -> tuple[Tensor, Params]:
        return (dy - cache.x * (dy * cache.x).sum(1, keepdim=True)) / cache.y, {}


@dataclass(frozen=True)
class PickedLoss(Loss):
    """The mean of minus the output of the target's class: right for log-probabilities, wrong for probabilities."""

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        target_mask = torch.nn.functional.one_hot(target, y.shape[1]).to(y.dtype) / len(y)
        return -(y * target_mask).sum(), -target_mask

    def check(self, outputs: Any, targets: Tensor) -> None:
        pass

    def predict(self, y: Tensor) -> Tensor:
        return y


@dataclass(frozen=True)
class PairwiseSquares(Loss):
    """The squared error of outputs (N, 1) and targets (N,), which broadcasts to (N, N)."""

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        delta = y - target  # (N, N)
        return delta.square().mean() / 2, delta.mean(1, keepdim=True) / len(y)

    def check(self, outputs: Any, targets: Tensor) -> None:
        pass

    def predict(self, y: Tensor) -> Tensor:
        return y


@dataclass(frozen=True)
class ClippedCrossEntropy(Loss):
    """Softmax cross-entropy, with each example's loss clipped at `max_loss`."""

    max_loss: float = 1.0

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        losses = torch.nn.functional.cross_entropy(y, target, reduction="none")
        target_mask = torch.nn.functional.one_hot(target, y.shape[1]).to(y.dtype)
        weight = (losses < self.max_loss).to(y.dtype)[:, None] / len(y)
        return losses.clamp(max=self.max_loss).mean(), (y.softmax(1) - target_mask) * weight

    def check(self, outputs: Any, targets: Tensor) -> None:
        pass

    def predict(self, y: Tensor) -> Tensor:
        return y.softmax(1)


@dataclass(frozen=True)
class Accumulating(Optimizer):
    """Gradient descent with the sum of all gradients so far, which are never reset to 0."""

    def init(self, params: list[Tensor]) -> dict[str, Any]:
        return {"grad": [torch.zeros_like(param) for param in params]}

    def update(self, params: list[Tensor], grads: list[Tensor], state: dict[str, Any], lr: float) -> None:
        for param, grad, total in zip(params, grads, state["grad"], strict=True):
            total.add_(grad)
            param.sub_(total, alpha=lr)


@dataclass(frozen=True)
class IntegerWarmup(Plan):
    """A warmup in integer arithmetic: the factor is step // steps, 0 until `steps` and then 1."""

    steps: int

    def at(self, now: Progress) -> float:
        return float(min(now.step // self.steps, 1))
