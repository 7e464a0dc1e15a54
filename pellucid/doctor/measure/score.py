"""How good a model's answers are, in one number that losses, scales and class sizes do not change."""

from math import sqrt

import torch

from pellucid.data.source import Arrays
from pellucid.doctor.finding import UnansweredError
from pellucid.doctor.measure.answers import Answers, answers
from pellucid.training.model import BaseModel


def score(model: BaseModel, part: Arrays, classes: bool) -> float:
    """Return the mean recall of the classes, or R squared of numbers; 0 where the outputs are not finite.

    Raises UnansweredError for outputs that are no scores of classes, and for targets of another shape than the outputs.
    """
    try:
        said = answers(model, part)
    except UnansweredError:
        return 0.0
    return recall(said) if classes else explained(said)


def recall(said: Answers) -> float:
    """Return the mean over the classes of the share of their examples that are answered right."""
    y = said.part.y
    if said.y.dim() != 2 or y.dim() != 1:
        raise UnansweredError("the outputs are no scores of classes")
    right = (said.classes == y).double()
    classes, place = y.unique(return_inverse=True)
    counts = torch.zeros(len(classes), dtype=torch.float64).index_add_(0, place, torch.ones_like(right))
    return float((torch.zeros_like(counts).index_add_(0, place, right) / counts).mean())


def explained(said: Answers) -> float:
    """Return the share of the targets' variance that is explained, at least 0."""
    if said.y.numel() != said.part.y.numel():
        raise UnansweredError("the outputs are no numbers of the targets' shape")
    target = said.part.y.double().reshape(said.y.shape)
    variance = float(target.var(0, correction=0).mean())
    if variance == 0:
        raise UnansweredError("the targets are all the same")
    return max(1 - float((said.y - target).square().mean()) / variance, 0.0)


def spread(one: float, other: float, n: int) -> float:
    """Return the standard deviation of the difference of two shares of n examples."""
    return sqrt(max(one * (1 - one) + other * (1 - other), 1 / n) / n)
