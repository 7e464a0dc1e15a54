"""Metrics of classification: functions of all predictions at once.

Targets and predictions are integer classes (n,); scores are (n, classes). Numbers by class are float64 (classes,).
"""

from dataclasses import dataclass

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


def macro_f1(confusion: Tensor) -> float:
    """Return the mean of F1 over the classes that have examples or were predicted, each counting the same."""
    known = confusion.sum(0) + confusion.sum(1) > 0
    return macro(f1(confusion)[known])


def macro(by_class: Tensor) -> float:
    """Return the mean over the classes, each counting the same."""
    return by_class.mean().item()


@dataclass(frozen=True, eq=False)
class Reliability:
    """The accuracy of predictions by confidence, in bins of equal width from 0 to 1.

    Each (bins,): `count` int64, `confidence` and `accuracy` the means in each bin, float64, 0 where it is empty.
    """

    count: Tensor
    confidence: Tensor
    accuracy: Tensor

    @property
    def error(self) -> float:
        """The expected calibration error: the mean over the examples of their bin's |accuracy - confidence|."""
        share = self.count.double() / self.count.sum()
        return (share * (self.accuracy - self.confidence).abs()).sum().item()


@dataclass(frozen=True, eq=False)
class Bins:
    """Predictions by confidence, summed so that batches add up.

    Each (bins,): `count` int64, `confidence` and `right` the sums in each bin, float64.
    """

    count: Tensor
    confidence: Tensor
    right: Tensor

    @classmethod
    def of(cls, target: Tensor, probabilities: Tensor, bins: int) -> "Bins":
        """Sort predictions as `reliability` says; raises as it does."""
        if probabilities.dim() != 2 or probabilities.shape[1] < 2 or bins < 1:
            raise PellucidError(
                f"reliability: probabilities of shape {tuple(probabilities.shape)} and {bins} bins; give (n, classes) "
                "with two classes at least, and one bin at least"
            )
        confidence, predicted = probabilities.detach().double().cpu().max(1)  # (n,)
        target = target.cpu()
        _check(target, predicted)
        if not bool(((confidence >= 0) & (confidence <= 1 + 1e-6)).all()):  # false for NaN
            raise PellucidError("reliability: the largest scores are not from 0 to 1; give probabilities")
        edges = torch.arange(1, bins, dtype=torch.float64) / bins
        index = torch.bucketize(confidence, edges)  # (n,)
        right = (predicted == target).double()
        sums = (torch.bincount(index, weights=each, minlength=bins) for each in (confidence, right))
        return cls(torch.bincount(index, minlength=bins), *sums)

    def __add__(self, other: "Bins") -> "Bins":
        """Return the bins of both batches."""
        return Bins(self.count + other.count, self.confidence + other.confidence, self.right + other.right)

    def reliability(self) -> Reliability:
        """Return the means in each bin."""
        held = self.count.clamp_min(1)
        return Reliability(self.count, self.confidence / held, self.right / held)


def reliability(target: Tensor, probabilities: Tensor, bins: int = 15) -> Reliability:
    """Sort the predictions of probabilities (n, classes) into `bins` by the probability of the predicted class.

    A bin ((k - 1) / bins, k / bins] holds its upper end. Guo, Pleiss, Sun, Weinberger 2017, "On Calibration of Modern
    Neural Networks", section 2. Raises PellucidError for anything but probabilities, and without a bin.
    """
    return Bins.of(target, probabilities, bins).reliability()


def calibration_error(target: Tensor, probabilities: Tensor, bins: int = 15) -> float:
    """Return the expected calibration error: the mean difference of confidence and accuracy."""
    return reliability(target, probabilities, bins).error


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
