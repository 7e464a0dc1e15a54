"""Metrics of several labels for each image: average precision of each class, F1, and the number of labels."""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from pellucid.metrics.base import Metric, check_measured
from pellucid.metrics.regression import target_values


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
        ends = torch.cat([sorted_scores[1:] != sorted_scores[:-1], torch.ones(1, dtype=torch.bool)]).nonzero()[:, 0]
        hits_at_ends = hits[ends]
        gains = torch.diff(hits_at_ends, prepend=hits_at_ends.new_zeros(1))
        total = float(hits[-1])
        results.append(float((gains * hits_at_ends / (ends + 1)).sum()) / total if total else torch.nan)
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
