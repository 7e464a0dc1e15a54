"""What a trained model reaches on data that it has not seen; more is better."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.doctor.cases.unusual.data import Boxes
from pellucid import Model
from pellucid.base.errors import PellucidError
from pellucid.data import float_images
from pellucid.data.source import Arrays
from pellucid.metrics import AveragePrecision

Score = Callable[[Model], float]


def finite(score: Score) -> Score:
    """Return a score that is 0 of a model which cannot predict."""

    def scored(model: Model) -> float:
        try:
            value = score(model)
        except PellucidError:
            return 0.0
        return value if math.isfinite(value) else 0.0

    return scored


def accuracy(data: Any) -> Score:
    """Return the share of right classes."""
    return finite(lambda model: float((model.predict(data.x).argmax(1) == data.y).float().mean()))


def explained(data: Arrays) -> Score:
    """Return the share of the targets' variance that the outputs explain, at least -1."""

    def score(model: Model) -> float:
        y = data.y.reshape(len(data.y), -1)
        wrong = (model.predict(data.x).reshape(y.shape) - y).square().mean() / (y - y.mean(0)).square().mean()
        return max(-1.0, 1 - float(wrong))

    return finite(score)


def precision(data: Boxes) -> Score:
    """Return the average precision over IoU thresholds of 0.5 to 0.95."""

    def score(model: Model) -> float:
        metric = AveragePrecision()
        metric.update(model.predict(data.images), list(data.objects))
        return float(metric.compute()["ap"])

    return finite(score)


def overlap(data: Arrays, ignore: int = 255) -> Score:
    """Return the mean IoU of the classes in the masks."""

    def score(model: Model) -> float:
        found, used = model.predict(data.x).argmax(1), data.y != ignore
        present = data.y[used].unique().tolist()
        both = [float(((found == k) & (data.y == k) & used).sum()) for k in present]
        either = [float((((found == k) | (data.y == k)) & used).sum()) for k in present]
        return sum(a / b for a, b in zip(both, either, strict=True)) / len(present)

    return finite(score)


def nearness(data: Arrays) -> Score:
    """Return 1 minus the mean distance of key-points in tenths of the image's side, at least -1."""

    def score(model: Model) -> float:
        points = model.predict(data.x)
        distance = (points[..., :2] - data.y[..., :2]).norm(dim=-1).mean() / data.x.shape[-1]
        return max(-1.0, 1 - 10 * float(distance))

    return finite(score)


def colours(data: Arrays) -> Score:
    """Return the share of the variance of the colours a and b that the predictions explain, at least -1."""
    from pellucid.ops.colour import rgb_to_lab

    def score(model: Model) -> float:
        true = rgb_to_lab(float_images(data.x))[:, 1:]
        wrong = (model.predict(data.x) - true).square().mean() / (true - true.mean((0, 2, 3), True)).square().mean()
        return max(-1.0, 1 - float(wrong))

    return finite(score)


def images(data: Arrays) -> Score:
    """Return the share of the variance of the target images that the predictions explain, at least -1."""

    def score(model: Model) -> float:
        true = float_images(data.y)
        wrong = (model.predict(data.x) - true).square().mean() / (true - true.mean((0, 2, 3), True)).square().mean()
        return max(-1.0, 1 - float(wrong))

    return finite(score)


def energy_distance(a: Tensor, b: Tensor) -> float:
    """Return the energy distance of two samples (n, d) (Székely and Rizzo 2013), 0 for equal distributions."""
    within = torch.pdist(a).mean() + torch.pdist(b).mean()
    return float(2 * torch.cdist(a, b).mean() - within)


def likeness(data: Any) -> Score:
    """Return 1 minus the energy distance of generated images from real ones, in units of that of their mean image."""

    def score(model: Model) -> float:
        real = float_images(data.x).flatten(1)
        made = model.predict(data.x).flatten(1)
        blank = real.mean(0, keepdim=True) + 1e-3 * torch.randn(real.shape, generator=torch.Generator().manual_seed(0))
        return max(-1.0, 1 - energy_distance(made, real) / energy_distance(blank, real))

    return finite(score)
