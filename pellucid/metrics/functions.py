"""Metrics of classification, as functions of all predictions.

Targets and predictions are integer classes (n,), scores are (n, classes): tensors, arrays or lists. Values by class are
float64 (classes,).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.base.brief import brief_repr
from pellucid.base.errors import PellucidError
from pellucid.base.settings.tensors import as_tensor
from pellucid.base.text import value_range


def accuracy(target: Tensor, predicted: Tensor) -> float:
    """Return the fraction of correct predictions."""
    target, predicted = _as_tensors(target, predicted)
    _check_shapes(target, predicted)
    return (target == predicted).double().mean().item()


def top_k(target: Tensor, scores: Tensor, k: int) -> float:
    """Return the fraction of examples whose class is among the k classes with the highest scores.

    Among equal scores, the class with the lowest index ranks first, as in `argmax`, so top 1 is `accuracy`. A class
    whose score is NaN is never among the k.
    """
    target, scores = _as_tensors(target, scores)
    if scores.dim() != 2 or not 1 <= k <= scores.shape[1]:
        raise PellucidError(
            f"top_k: k is {k} for scores of shape {tuple(scores.shape)}; choose 1 to the number of classes"
        )
    _check_shapes(target, scores[:, 0])
    _check_classes("top_k", "target", target, scores.shape[1])
    true_class = target.long().unsqueeze(1)
    class_indices = torch.arange(scores.shape[1], device=scores.device)
    true_score = scores.gather(1, true_class)  # (n, 1)
    # `Tensor.topk` does not define the order of equal scores
    is_ranked_before = ~(scores <= true_score) | ((scores == true_score) & (class_indices < true_class))
    return (is_ranked_before.sum(1) < k).double().mean().item()


def confusion_matrix(target: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Return how often each class (row) was predicted as each class (column): int64, (classes, classes)."""
    target, predicted = _as_tensors(target, predicted)
    _check_shapes(target, predicted)
    for name, values in (("target", target), ("predicted", predicted)):
        _check_classes("confusion_matrix", name, values, classes)
    return torch.bincount(target.long() * classes + predicted.long(), minlength=classes**2).view(classes, classes)


def precision(confusion: Tensor) -> Tensor:
    """Return, for each class, the fraction of its predictions that are correct; 0 if it was never predicted."""
    return _ratio(confusion.diagonal(), confusion.sum(0))


def recall(confusion: Tensor) -> Tensor:
    """Return, for each class, the fraction of its examples that are predicted correctly; 0 if there are none."""
    return _ratio(confusion.diagonal(), confusion.sum(1))


def f1(confusion: Tensor) -> Tensor:
    """Return, for each class, the harmonic mean of precision and recall; 0 if it neither occurs nor was predicted."""
    return _ratio(2 * confusion.diagonal(), confusion.sum(0) + confusion.sum(1))


def macro_f1(confusion: Tensor) -> float:
    """Return the mean of F1 over the classes that have examples or were predicted, unweighted."""
    occurring = confusion.sum(0) + confusion.sum(1) > 0
    return macro(f1(confusion)[occurring])


def macro(by_class: Tensor) -> float:
    """Return the mean over the classes, unweighted."""
    return by_class.mean().item()


@dataclass(frozen=True, eq=False)
class Reliability:
    """The accuracy of predictions by confidence, in bins of equal width from 0 to 1.

    All have the shape (bins,).
    count: the number of predictions, int64.
    confidence: the mean confidence in each bin, float64, 0 for an empty bin.
    accuracy: the accuracy in each bin, float64, 0 for an empty bin.
    """

    count: Tensor
    confidence: Tensor
    accuracy: Tensor
    __repr__ = brief_repr

    @property
    def error(self) -> float:
        """The expected calibration error: |accuracy - confidence| of the bins, averaged over the examples."""
        fraction = self.count.double() / self.count.sum()
        return (fraction * (self.accuracy - self.confidence).abs()).sum().item()


@dataclass(frozen=True, eq=False)
class Bins:
    """Sums over predictions in bins of confidence, which can be added over batches.

    All have the shape (bins,).
    """

    count: Tensor  # the number of predictions, int64
    confidence: Tensor  # the sum of the confidences, float64
    n_correct: Tensor  # the number of correct predictions, float64

    @classmethod
    def of(cls, target: Tensor, probabilities: Tensor, bins: int) -> "Bins":
        """Return the sums for one batch; arguments and errors are those of `reliability`."""
        target, probabilities = _as_tensors(target, probabilities)
        if probabilities.dim() != 2 or probabilities.shape[1] < 2 or bins < 1:
            raise PellucidError(
                f"reliability: probabilities of shape {tuple(probabilities.shape)} and {bins} bins; give (n, classes) "
                "with at least two classes, and at least one bin"
            )
        confidence, predicted = probabilities.detach().double().cpu().max(1)  # (n,)
        target = target.cpu()
        _check_shapes(target, predicted)
        # 1e-6 is the rounding of a softmax; the comparison is false for NaN
        if not bool(((confidence >= 0) & (confidence <= 1 + 1e-6)).all()):
            raise PellucidError("reliability: the largest scores are not from 0 to 1; give probabilities")
        edges = torch.arange(1, bins, dtype=torch.float64) / bins
        index = torch.bucketize(confidence, edges)  # (n,)
        is_correct = (predicted == target).double()
        sums = (torch.bincount(index, weights=weights, minlength=bins) for weights in (confidence, is_correct))
        return cls(torch.bincount(index, minlength=bins), *sums)

    def __add__(self, other: "Bins") -> "Bins":
        """Return the sums over both batches."""
        return Bins(self.count + other.count, self.confidence + other.confidence, self.n_correct + other.n_correct)

    def reliability(self) -> Reliability:
        """Return the means in each bin."""
        divisor = self.count.clamp_min(1)
        return Reliability(self.count, self.confidence / divisor, self.n_correct / divisor)


def reliability(target: Tensor, probabilities: Tensor, bins: int = 15) -> Reliability:
    """Return accuracy by confidence: the probability of the predicted class determines the bin of a prediction.

    target: the classes, (n,). probabilities: (n, classes). Bin k is ((k - 1) / bins, k / bins]. Raises PellucidError
    for values that are not probabilities, and for fewer than one bin. Source: Guo, Pleiss, Sun and Weinberger 2017, "On
    Calibration of Modern Neural Networks", section 2.
    """
    return Bins.of(target, probabilities, bins).reliability()


def calibration_error(target: Tensor, probabilities: Tensor, bins: int = 15) -> float:
    """Return the expected calibration error: |accuracy - confidence| of the bins, averaged over the examples.

    Arguments and errors are those of `reliability`.
    """
    return reliability(target, probabilities, bins).error


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    return numerator.double() / denominator.clamp_min(1)  # both are counts; if the denominator is 0, both are 0


def _as_tensors(target: Tensor, predicted: Tensor) -> tuple[Tensor, Tensor]:
    """Return both arguments of a metric as tensors, since they may also be arrays."""
    return as_tensor(target, "target"), as_tensor(predicted, "predicted")


def _check_shapes(target: Tensor, predicted: Tensor) -> None:
    if target.dim() != 1 or target.shape != predicted.shape or not len(target):
        raise PellucidError(
            f"metrics: {tuple(target.shape)} targets and {tuple(predicted.shape)} predictions; give one of each for "
            "every example, and at least one example"
        )


def _check_classes(metric: str, name: str, values: Tensor, classes: int) -> None:
    if int(values.min()) < 0 or int(values.max()) >= classes:
        raise PellucidError(
            f"{metric}: {name} contains {value_range('class', 'classes', values)}, not 0 to {classes - 1}; "
            "give the right number of classes"
        )
