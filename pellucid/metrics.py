"""Metrics of classification: how often, and where, predictions are right.

Targets and predictions are integer classes (n,); scores are (n, classes). Numbers by class are float64 (classes,).
"""

import torch
from torch import Tensor

from pellucid.errors import PellucidError


def accuracy(target: Tensor, predicted: Tensor) -> float:
    """Return the share of predictions that are right."""
    _check(target, predicted)
    return (target == predicted).double().mean().item()


def top_k(target: Tensor, scores: Tensor, k: int) -> float:
    """Return the share of examples whose class is among the k with the highest scores.

    Of equal scores the first class comes first, as `argmax` takes it, so that top 1 is `accuracy`. A class whose score
    is NaN is never among the k.
    """
    if scores.dim() != 2 or not 1 <= k <= scores.shape[1]:
        raise PellucidError(f"top_k: scores of shape {tuple(scores.shape)} have no {k} best; choose 1 to the classes")
    _check(target, scores[:, 0])
    _check_classes("top_k", "target", target, scores.shape[1])
    own_class, classes = target.long().unsqueeze(1), torch.arange(scores.shape[1], device=scores.device)
    own = scores.gather(1, own_class)  # (n, 1)
    ahead = ~(scores <= own) | ((scores == own) & (classes < own_class))  # topk leaves open which of equals it takes
    return (ahead.sum(1) < k).double().mean().item()


def confusion_matrix(target: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Return how often each class (row) was predicted as each (column): int64, (classes, classes)."""
    _check(target, predicted)
    for name, values in (("target", target), ("predicted", predicted)):
        _check_classes("confusion_matrix", name, values, classes)
    return torch.bincount(target.long() * classes + predicted.long(), minlength=classes**2).view(classes, classes)


def precision(confusion: Tensor) -> Tensor:
    """Return, for each class, the share of its predictions that are right; 0 where it was never predicted."""
    return _ratio(confusion.diagonal(), confusion.sum(0))


def recall(confusion: Tensor) -> Tensor:
    """Return, for each class, the share of its examples that were found; 0 where there are none."""
    return _ratio(confusion.diagonal(), confusion.sum(1))


def f1(confusion: Tensor) -> Tensor:
    """Return, for each class, the harmonic mean of precision and recall; 0 where it neither is nor was predicted."""
    return _ratio(2 * confusion.diagonal(), confusion.sum(0) + confusion.sum(1))


def macro(by_class: Tensor) -> float:
    """Return the mean over the classes, each counting the same."""
    return by_class.mean().item()


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return part.double() / whole.clamp_min(1)  # whole is a count: where it is 0, so is part


def _check(target: Tensor, predicted: Tensor) -> None:
    if target.dim() != 1 or target.shape != predicted.shape or not len(target):
        raise PellucidError(
            f"metrics: {tuple(target.shape)} targets and {tuple(predicted.shape)} predictions; give one of each for "
            "every example, and at least one example"
        )


def _check_classes(metric: str, name: str, values: Tensor, classes: int) -> None:
    if int(values.min()) < 0 or int(values.max()) >= classes:
        raise PellucidError(
            f"{metric}: {name} holds classes {int(values.min())} to {int(values.max())}, not 0 to {classes - 1}; "
            "give the right number of classes"
        )
