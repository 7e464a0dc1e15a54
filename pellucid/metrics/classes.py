"""Metrics of classification by one class or by several labels, computed batch by batch."""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check, check_whole
from pellucid.metrics.base import Metric, check_measured, checked_ratio
from pellucid.metrics.functions import Bins, confusion_matrix, f1, macro, precision, recall, top_k
from pellucid.metrics.regression import target_values


@dataclass
class Accuracy(Metric):
    """The fraction of correctly predicted examples or, for multi-label targets, of correct outputs.

    multilabel: whether targets (n, classes) are multi-label: an output is then correct if it is at least `boundary` and
        its target is at least 1/2, or if both are below, and the result is 1 minus scikit-learn's hamming_loss. If
        False, such targets are probabilities or one-hot, and a row that does not sum to 1 is refused. None, the
        default, means `multilabel` of the model's loss, which is True for BinaryCrossEntropy and QualityFocal. Targets
        that are class indices are never multi-label.
    boundary: the threshold of outputs, 1/2 for probabilities and 0 for logits.
    """

    sums: ClassVar[tuple[str, ...]] = ("hits", "seen")

    multilabel: bool | None = None
    boundary: float = field(default=0.5, init=False)
    hits: int = field(default=0, init=False)
    seen: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Raise PellucidError unless `multilabel` is True, False or None."""
        check(self.multilabel in (True, False, None), "Accuracy: multilabel", "True, False or None", self.multilabel)

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Count the batch: outputs (n, classes), or (n, 1) or (n,) for two classes."""
        if outputs.dim() == 1:
            outputs = outputs[:, None]
        if self.multilabel and targets.shape == outputs.shape and outputs.dim() == 2:
            _check_fractions(targets)
            is_correct = (outputs >= self.boundary) == (targets >= 0.5)
        else:
            is_correct = classes_of(outputs, self.boundary) == target_classes(targets, outputs)
        self.hits += int(is_correct.sum())
        self.seen += is_correct.numel()

    def compute(self) -> dict[str, Any]:
        """Return {"accuracy": from 0 to 1}."""
        return {"accuracy": checked_ratio(self.hits, self.seen, self)}


@dataclass
class TopK(Metric):
    """The fraction of examples whose class is among the `k` classes with the highest outputs."""

    sums: ClassVar[tuple[str, ...]] = ("hits", "seen")

    k: int = 5
    hits: float = field(default=0.0, init=False)
    seen: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Raise PellucidError for a k below 1."""
        check_whole(self, k=self.k)

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Count the batch; raise PellucidError if there are fewer than k classes."""
        classes = target_classes(targets, outputs)
        self.hits += top_k(classes, class_scores(outputs), self.k) * len(classes)
        self.seen += len(classes)

    def compute(self) -> dict[str, Any]:
        """Return {"top5": from 0 to 1}, with `k` in the name."""
        return {f"top{self.k}": checked_ratio(round(self.hits), self.seen, self)}


@dataclass
class Confusion(Metric):
    """The confusion matrix: how often each class (row) was predicted as each class (column).

    It is left out of the training history.
    """

    sums: ClassVar[tuple[str, ...]] = ("matrix",)

    boundary: float = field(default=0.5, init=False)
    matrix: Tensor | None = field(default=None, init=False, repr=False)

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Count the batch."""
        classes = target_classes(targets, outputs)
        batch_matrix = confusion_matrix(classes, classes_of(outputs, self.boundary), max(outputs.shape[1], 2))
        self.matrix = batch_matrix if self.matrix is None else self.matrix + batch_matrix

    def compute(self) -> dict[str, Any]:
        """Return {"confusion": rows of counts}."""
        return {"confusion": self.confusion_counts().tolist()}

    def confusion_counts(self) -> Tensor:
        """Return the counts (classes, classes); raises PellucidError before the first batch."""
        if self.matrix is None:
            raise PellucidError(f"{type(self).__name__}: no examples were measured; call update first")
        return self.matrix

    def mean(self, by_class: Tensor) -> float:
        """Return the mean over the classes that have examples or were predicted, like scikit-learn's "macro" average.

        by_class: a value for each class, (classes,).
        """
        counts = self.confusion_counts()
        return macro(by_class[counts.sum(0) + counts.sum(1) > 0])


@dataclass
class Precision(Confusion):
    """The fraction of a class's predictions that are correct, averaged over the classes that occur.

    It is 0 for a class that is never predicted.
    """

    def compute(self) -> dict[str, Any]:
        """Return {"precision": from 0 to 1}."""
        return {"precision": self.mean(precision(self.confusion_counts()))}


@dataclass
class Recall(Confusion):
    """The fraction of a class's examples that are predicted correctly, averaged over the classes that occur.

    It is 0 for a class without examples.
    """

    def compute(self) -> dict[str, Any]:
        """Return {"recall": from 0 to 1}."""
        return {"recall": self.mean(recall(self.confusion_counts()))}


@dataclass
class MacroF1(Confusion):
    """The harmonic mean of a class's precision and recall, averaged over the classes that occur."""

    def compute(self) -> dict[str, Any]:
        """Return {"macro_f1": from 0 to 1}."""
        return {"macro_f1": self.mean(f1(self.confusion_counts()))}


@dataclass
class ECE(Metric):
    """The expected calibration error of probabilities, with `bins` bins of equal width.

    Source: Guo et al. 2017, section 2.
    """

    lower_is_better: ClassVar[bool] = True
    sums: ClassVar[tuple[str, ...]] = ("totals",)

    bins: int = 15
    totals: Bins | None = field(default=None, init=False, repr=False)

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Add the batch to the bins; raises PellucidError unless the outputs are probabilities."""
        batch = Bins.of(target_classes(targets, outputs), class_scores(outputs), self.bins)
        self.totals = batch if self.totals is None else self.totals + batch

    def compute(self) -> dict[str, Any]:
        """Return {"ece": from 0 to 1}."""
        if self.totals is None:
            raise PellucidError("ECE: no examples were measured; call update first")
        return {"ece": self.totals.reliability().error}


def class_scores(scores: Tensor) -> Tensor:
    """Convert outputs (N, 1), the scores of the second of two classes, to (N, 2); return other outputs unchanged."""
    return torch.cat([1 - scores, scores], 1) if scores.dim() == 2 and scores.shape[1] == 1 else scores


def classes_of(scores: Tensor, boundary: float = 0.5) -> Tensor:
    """Return the predicted classes (n,): the index of the largest score or, for scores (n, 1), score >= `boundary`."""
    return scores.argmax(1) if scores.shape[1] > 1 else (scores[:, 0] >= boundary).long()


def target_classes(target: Tensor, scores: Tensor) -> Tensor:
    """Return targets as class indices (n,): integers unchanged, targets with a value for each output by `classes_of`.

    Raises PellucidError for targets of another shape, and for multi-label targets, which have no single class.
    """
    if scores.dim() != 2:
        raise PellucidError(
            f"metrics of classes are for outputs (n, classes), not {tuple(scores.shape)}; give metrics=() or, for a "
            'class at each pixel, metrics="miou"'
        )
    if target.shape == scores.shape and (target.is_floating_point() or scores.shape[1] > 1):
        if not _has_single_classes(target):
            raise PellucidError(
                "metrics of classes: the targets are multi-label, with several classes or none for an example; "
                "give metrics=Accuracy(multilabel=True), or functions (outputs, targets) -> number"
            )
        return classes_of(target.double())
    if target.numel() != len(target):
        raise PellucidError(
            f"metrics of classes: targets {tuple(target.shape)} do not fit outputs {tuple(scores.shape)}; give one "
            "class for each example, or one number for each output"
        )
    flat_target = target.reshape(len(target))
    return (flat_target >= 0.5).long() if target.is_floating_point() else flat_target


def _has_single_classes(target: Tensor) -> bool:
    """Return whether all rows of targets (n, classes) sum to 1; raises the errors of `_check_fractions` otherwise."""
    if target.shape[1] == 1 or bool(((target.float().sum(1) - 1).abs() < 1e-3).all()):
        return True
    _check_fractions(target)
    return False


def _check_fractions(target: Tensor) -> None:
    """Raise PellucidError unless targets (n, classes) are from 0 to 1."""
    if bool(((target < 0) | (target > 1)).any()):
        raise PellucidError(
            f"metrics of classes: targets {tuple(target.shape)} span {target.min().item():g} to "
            f"{target.max().item():g}; give one class for each example, or numbers from 0 to 1"
        )


class LabelCounts(NamedTuple):
    """The counts (K,) of true positives, predicted and true labels of each class."""

    hits: Tensor
    predicted: Tensor
    true: Tensor

    @property
    def f1(self) -> Tensor:
        """The F1 of each class, 0 for a class that neither occurs nor is predicted, as in scikit-learn."""
        total = self.predicted + self.true
        return torch.where(total > 0, 2 * self.hits / total.clamp_min(1), 0.0).double()

    @property
    def micro_f1(self) -> float:
        """The F1 of all labels together."""
        total = int(self.predicted.sum() + self.true.sum())
        return 2 * int(self.hits.sum()) / total if total else 0.0


def label_counts(predicted: Tensor, true: Tensor) -> LabelCounts:
    """Return the counts of predicted and true labels; both (N, K) bool."""
    return LabelCounts((predicted & true).sum(0), predicted.sum(0), true.sum(0))


def label_average_precision(scores: Tensor, true: Tensor) -> Tensor:
    """Return the average precision (K,) of each class, NaN for a class that never occurs.

    scores: (N, K); true: (N, K) bool. It is the sum of the precisions at each threshold, weighted by the increase of
    recall, without interpolation; images with equal scores are at one threshold, as in scikit-learn.
    """
    results: list[float] = []
    for class_scores, is_true in zip(scores.double().T, true.T, strict=True):
        order = class_scores.argsort(descending=True, stable=True)
        sorted_scores, hits = class_scores[order], is_true[order].double().cumsum(0)
        # the last position of each threshold, that is, of each run of equal scores
        ends = torch.cat([sorted_scores[1:] != sorted_scores[:-1], torch.ones(1, dtype=torch.bool)]).nonzero()[:, 0]
        hits_at_ends = hits[ends]
        new_hits = torch.diff(hits_at_ends, prepend=hits_at_ends.new_zeros(1))
        n_true = float(hits[-1])
        results.append(float((new_hits * hits_at_ends / (ends + 1)).sum()) / n_true if n_true else torch.nan)
    return torch.tensor(results, dtype=torch.float64)


@dataclass
class MultiLabel(Metric):
    """Average precision and F1 of several labels for each image.

    thresholds: the probability of each class from which a label is predicted, 0.5 for all by default.
    """

    sums: ClassVar[tuple[str, ...]] = ("outputs", "targets")

    thresholds: tuple[float, ...] | None = None
    outputs: list[Any] = field(default_factory=list[Any], init=False, repr=False, compare=False)
    targets: list[Any] = field(default_factory=list[Any], init=False, repr=False, compare=False)

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Store the batch of probabilities (n, K), and labels (n, K) of 0 and 1 or class indices (n,)."""
        self.outputs.append(outputs)
        self.targets.append(target_values(targets, outputs) > 0.5)

    def compute(self) -> dict[str, Any]:
        """Return map, f1_micro, f1_macro, the numbers of true and predicted labels of an image, and lists by class."""
        check_measured(len(self.outputs), self)
        outputs, true = torch.cat(self.outputs), torch.cat(self.targets)
        predicted = outputs >= torch.tensor(self.thresholds or (0.5,) * outputs.shape[1], dtype=outputs.dtype)
        counts, precisions = label_counts(predicted, true), label_average_precision(outputs, true)
        return {
            "map": float(precisions.nanmean()),
            "f1_micro": counts.micro_f1,
            "f1_macro": float(counts.f1.mean()),
            "labels": float(true.sum(1).double().mean()),
            "predicted_labels": float(predicted.sum(1).double().mean()),
            "exact_match": float((predicted == true).all(1).double().mean()),
            "class_ap": [None if math.isnan(value) else value for value in precisions.tolist()],
            "class_f1": counts.f1.tolist(),
        }
