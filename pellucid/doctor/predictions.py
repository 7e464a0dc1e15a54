"""Predictions of a model, and their scores."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.metrics import classes_of
from pellucid.objective import Supervised
from pellucid.training.evaluate import loss_and_predictions
from pellucid.training.measures import boundary

if TYPE_CHECKING:
    from pellucid.data.source import Arrays
    from pellucid.training.model import BaseModel

MIN_DEVIATIONS = 4.0  # standard deviations of the change in the number of correct predictions (McNemar's test)
MIN_GAIN = 0.02  # increase of the fraction of correct predictions


class UnansweredError(PellucidError):
    """Raised if a check cannot be made for a case, with the reason; the check is then skipped."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """The predictions of a model for N examples.

    y: the outputs after the loss's `predict`, such as probabilities. loss: the mean loss. part: the examples, without
    those that the loss ignores. boundary: the threshold from which a single output predicts the second of two classes.
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
        """The fraction of correctly predicted classes."""
        return (self.classes == self.part.y).float().mean().item()


def predictions(model: BaseModel, part: Arrays) -> Predictions:
    """Return the model's predictions in evaluation mode; raises UnansweredError if the outputs are not finite."""
    try:
        with torch.inference_mode():
            loss, y = loss_and_predictions(model, part)
    except PellucidError as error:
        raise UnansweredError(f"the model has no predictions: {error}") from error
    if not isinstance(model.objective, Supervised):
        return Predictions(y, loss, part)
    valid = model.objective.loss.valid_mask(part.y)
    if valid is not None:
        part = replace(part, x=part.x[valid], y=part.y[valid])
    return Predictions(y, loss, part, boundary(model.objective.net, model.objective.loss))


def standard_error(first: float, second: float, n: int) -> float:
    """Return the standard error of the difference of two fractions that are each measured on n examples."""
    return sqrt(max(first * (1 - first) + second * (1 - second), 1 / n) / n)


def significantly_better(before: Tensor, after: Tensor) -> bool:
    """Return whether significantly more predictions are correct after a change than before (McNemar 1947).

    before, after: whether each prediction is correct, (N,).
    """
    corrected, broken = int((after & ~before).sum()), int((before & ~after).sum())
    return corrected - broken >= max(MIN_GAIN * len(before), MIN_DEVIATIONS * sqrt(corrected + broken))
