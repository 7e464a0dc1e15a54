"""Predictions of a model for examples, and how good they are."""

from dataclasses import dataclass, replace
from math import sqrt

import torch
from torch import Tensor

from pellucid.data.source import Arrays
from pellucid.errors import PellucidError
from pellucid.metrics import classes_of
from pellucid.objective import Supervised
from pellucid.training.evaluate import boundary, judge
from pellucid.training.model import BaseModel

SURE = 4.0  # standard deviations, of McNemar's test
MIN_GAIN = 0.02  # of the examples


class UnansweredError(PellucidError):
    """Raised where the question of a check has no answer for a case, with the reason; the check is then left out."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """y: outputs for N examples as the loss interprets them, such as probabilities; loss: the mean.

    part: the examples, without those that the loss ignores. boundary: see `pellucid.training.evaluate.boundary`.
    """

    y: Tensor
    loss: float
    part: Arrays
    boundary: float = 0.5

    @property
    def classes(self) -> Tensor:
        """The predicted classes, (N,)."""
        return classes_of(self.y, self.boundary)

    @property
    def accuracy(self) -> float:
        """The share of correct classes."""
        return (self.classes == self.part.y).float().mean().item()


def predictions(model: BaseModel, part: Arrays) -> Predictions:
    """Predict examples that fit the model, in evaluation mode; UnansweredError for outputs of NaN or infinity."""
    try:
        with torch.inference_mode():
            loss, y = judge(model, part)
    except PellucidError as error:
        raise UnansweredError(f"the model has no predictions: {error}") from error
    if not isinstance(model.objective, Supervised):
        return Predictions(y, loss, part)
    kept = model.objective.loss.kept(part.y)
    if kept is not None:
        part = replace(part, x=part.x[kept], y=part.y[kept])
    return Predictions(y, loss, part, boundary(model.objective.net, model.objective.loss))


def loss_on(model: BaseModel, part: Arrays) -> float:
    """Return the mean loss in evaluation mode, infinite where the model's outputs are not finite."""
    try:
        return predictions(model, part).loss
    except UnansweredError:
        return float("inf")


def score(model: BaseModel, part: Arrays, classes: bool) -> float:
    """Return the mean recall of the classes, or R squared of numbers; 0 where the outputs are not finite.

    Raises UnansweredError for outputs that are not scores of classes, and for targets of another shape than these.
    """
    try:
        found = predictions(model, part)
    except UnansweredError:
        return 0.0
    return _mean_recall(found) if classes else _r_squared(found)


def _mean_recall(found: Predictions) -> float:
    y = found.part.y
    if found.y.dim() != 2 or y.dim() != 1:
        raise UnansweredError("the outputs are not scores of classes")
    right = (found.classes == y).double()
    classes, index = y.unique(return_inverse=True)
    counts = torch.zeros(len(classes), dtype=torch.float64).index_add_(0, index, torch.ones_like(right))
    return float((torch.zeros_like(counts).index_add_(0, index, right) / counts).mean())


def _r_squared(found: Predictions) -> float:
    """Return the share of the targets' variance that is explained, at least 0."""
    if found.y.numel() != found.part.y.numel():
        raise UnansweredError("the outputs are not numbers of the targets' shape")
    target = found.part.y.double().reshape(found.y.shape)
    variance = float(target.var(0, correction=0).mean())
    if variance == 0:
        raise UnansweredError("the targets are all the same")
    return max(1 - float((found.y - target).square().mean()) / variance, 0.0)


def standard_error(one: float, other: float, n: int) -> float:
    """Return the standard deviation of the difference of two shares of n examples."""
    return sqrt(max(one * (1 - one) + other * (1 - other), 1 / n) / n)


def significantly_better(before: Tensor, after: Tensor) -> bool:
    """Return whether more of the predictions (N,) are right than were before, beyond chance (McNemar 1947)."""
    won, lost = int((after & ~before).sum()), int((before & ~after).sum())
    return won - lost >= max(MIN_GAIN * len(before), SURE * sqrt(won + lost))
