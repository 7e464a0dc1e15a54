"""Fit a `Confidence` on held-out pictures, and measure its coverage and accuracy."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pellucid.calibration.confidence import Confidence, check_targets, fit_temperature
from pellucid.data.splitting import hold_out
from pellucid.metrics import accuracy

if TYPE_CHECKING:
    from pellucid.model import Model
    from pellucid.recipe.checked.collection import Collection

# The highest error rate of the answers (predictions that are not "unsure") on held-out pictures. One wrong gesture in
# twenty is tolerable, and a hundred pictures cannot distinguish a much lower rate from 0.
MAX_ERROR = 0.05
# Pictures in each half of a cross-validation: with fewer, a single wrong answer exceeds MAX_ERROR.
MIN_HALF_SIZE = round(1 / MAX_ERROR)
MAX_REFUSED = 0.01  # fraction of pictures like the held-out ones that may be "unsure" although their class is right
ROUNDING = 1e-9  # tolerance for rounding errors of MAX_ERROR times a count


@dataclass(frozen=True)
class SelectiveResult:
    """Selective classification of `n_pictures` pictures with known classes.

    n_answered: the number of pictures that are not "unsure". accuracy: on all pictures. answered_accuracy: on the
    answered pictures, None if there are none.
    """

    n_pictures: int
    n_answered: int
    accuracy: float
    answered_accuracy: float | None

    @property
    def coverage(self) -> float:
        """The fraction of the pictures that are answered."""
        return self.n_answered / self.n_pictures


def fit_confidence(probabilities: Tensor, targets: Tensor) -> Confidence:
    """Fit temperature and threshold on pictures that the network was not trained on.

    probabilities: (N, C), the outputs of the network; targets: (N,), class indices. The temperature minimizes the
    negative log-likelihood (see `fit_temperature`) of targets with label smoothing: the true class has 1 - 1/(N + 2)
    (Platt 1999, "Probabilistic outputs for support vector machines", section 2.2). N right answers in N do not prove
    that the network never errs, but without smoothing the best temperature would be 0 for them. The threshold is the
    lowest calibrated probability that fulfils two conditions on the held-out pictures:

    1. At most the fraction MAX_ERROR of the answers at or above it is wrong (selective classification: El-Yaniv, Wiener
       2010; Geifman, El-Yaniv 2017, section 3, without their bound: on new pictures the error rate varies as in any
       sample of that size; a hundred pictures cannot distinguish 1 % from 3 %).
    2. It is at least the quantile MAX_REFUSED of the largest probabilities, so that a picture below it is unlike nearly
       all held-out pictures. Among new pictures from the same distribution, the fraction below this quantile is at most
       MAX_REFUSED, or 1 / (N + 1) if that is larger (Vovk, Gammerman, Shafer 2005, "Algorithmic Learning in a Random
       World", section 2.2).

    The threshold is 1 if no probability fulfils both. On pictures like the held-out ones, the expected accuracy of
    answers is 1 - MAX_ERROR. "unsure" means that too many answers would be wrong for pictures as hard as this one, or
    that nearly all held-out pictures were easier. The threshold guarantees nothing for pictures that are unlike the
    training data, for which the network may be confident. Raises PellucidError unless the arguments are probabilities
    and class indices.
    """
    temperature = fit_temperature(probabilities, targets, other_probability=1 / (len(probabilities) + 2))
    confidences, predicted = Confidence(temperature, 0.0).calibrate(probabilities).double().max(1)  # (N,)
    order = confidences.argsort(descending=True)
    confidences, n_wrong = confidences[order], (predicted != targets.to(predicted.device))[order].long().cumsum(0)
    # Answers with equal probabilities are on the same side of a threshold, so a cut is possible after the last of them.
    cut_indices = (
        torch.cat([confidences[1:] < confidences[:-1], confidences.new_ones(1, dtype=torch.bool)]).nonzero().flatten()
    )
    # of the quantile, counted from the lowest probability
    rank = max(1, math.floor(MAX_REFUSED * (len(confidences) + 1)))
    is_accurate = n_wrong[cut_indices] <= MAX_ERROR * (cut_indices + 1) + ROUNDING
    valid_cuts = cut_indices[is_accurate & (confidences[cut_indices] >= confidences[-rank])]
    if not len(valid_cuts):
        return Confidence(temperature, 1.0)
    lowest_accepted = float(confidences[valid_cuts[-1]])
    lower_probabilities = confidences[confidences < lowest_accepted]
    # Halfway to the next lower probability, so that rounding moves no held-out picture across the threshold. The
    # largest of C probabilities is at least 1 / C.
    next_lower = float(lower_probabilities[0]) if len(lower_probabilities) else 1 / probabilities.shape[1]
    return Confidence(temperature, (lowest_accepted + next_lower) / 2)


def measure_selective(probabilities: Tensor, targets: Tensor, confidence: Confidence) -> SelectiveResult:
    """Measure the coverage and accuracy of a confidence on pictures.

    probabilities: (N, C), the outputs of the network, not calibrated; targets: (N,), class indices.
    """
    check_targets(targets, len(probabilities), probabilities.shape[1])
    confidences, predicted = confidence.calibrate(probabilities).double().max(1)
    is_answered, target = confidences >= confidence.threshold, targets.to(predicted.device)
    n_answered = int(is_answered.sum())
    answered_accuracy = accuracy(target[is_answered], predicted[is_answered]) if n_answered else None
    return SelectiveResult(len(target), n_answered, accuracy(target, predicted), answered_accuracy)


def cross_validate(
    probabilities: Tensor, targets: Tensor, groups: Sequence[int], seed: int = 0
) -> SelectiveResult | None:
    """Measure `fit_confidence` by two-fold cross-validation, if there are no other pictures to measure it on.

    The pictures are split by `seed` into halves with the same fraction of each class; no group is divided. Each half is
    measured with the confidence fitted on the other half (Stone 1974). groups: see `hold_out`. Returns None if a half
    has fewer than MIN_HALF_SIZE pictures.
    """
    check_targets(targets, len(probabilities), probabilities.shape[1])
    n_pictures = len(targets)
    first_half = hold_out(targets.tolist(), groups, range(n_pictures), 0.5, seed)
    second_half = sorted({*range(n_pictures)} - {*first_half})
    if min(len(first_half), len(second_half)) < MIN_HALF_SIZE:
        return None
    halves = [
        measure_selective(
            probabilities[test_indices],
            targets[test_indices],
            fit_confidence(probabilities[fit_indices], targets[fit_indices]),
        )
        for fit_indices, test_indices in ((first_half, second_half), (second_half, first_half))
    ]
    n_answered = sum(half.n_answered for half in halves)
    n_right = sum(half.n_answered * (half.answered_accuracy or 0.0) for half in halves)
    mean_accuracy = sum(half.n_pictures * half.accuracy for half in halves) / n_pictures
    return SelectiveResult(n_pictures, n_answered, mean_accuracy, n_right / n_answered if n_answered else None)


def measure_confidence(model: "Model", collection: "Collection") -> tuple[SelectiveResult | None, str]:
    """Return the coverage and accuracy of selective classification, and in words how they were measured.

    Selective classification makes a prediction only if the confidence is high enough. If there is a validation split,
    the confidence was fitted on it, and is measured on the test split. Otherwise it was fitted on the test split, and
    results on the same pictures would be too optimistic: it is measured by `cross_validate`, or, if there are too few
    pictures, not measured (None).
    """
    test, confidence = collection.test, model.confidence
    if confidence is None:
        return None, "not fitted, because the network outputs scores, not probabilities"
    probabilities = model.predict(test)
    if collection.validation is not None:
        return measure_selective(probabilities, test.y, confidence), "fitted on the validation part"
    result = cross_validate(probabilities, test.y, test.groups)
    if result is None:
        return None, "fitted on these images, which are too few to measure it"
    return result, "each half measured with the confidence fitted on the other"
