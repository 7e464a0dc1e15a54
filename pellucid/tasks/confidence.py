"""Fit a `Confidence` on held-out pictures, and measure its coverage and accuracy."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.calibration.confidence import Confidence, check_targets, fit_temperature
from pellucid.metrics import accuracy
from pellucid.tasks.splitting import hold_out

# Of the answers, at most this share may be wrong on held-out pictures. One wrong gesture in twenty is tolerable, and
# a hundred pictures cannot distinguish a much smaller share from none.
ERROR = 0.05
LEAST_HALF = round(1 / ERROR)  # pictures: with fewer, a single wrong answer exceeds ERROR
REFUSED = 0.01  # of pictures like the held-out ones may be called unsure although their class would be right
ROUNDING = 1e-9  # of ERROR times a count


@dataclass(frozen=True)
class Selective:
    """Selective classification of `n` pictures with known classes.

    answered: the number of pictures that are not "unsure". accuracy: of all pictures; answered_accuracy: of those
    answered, None where there are none.
    """

    n: int
    answered: int
    accuracy: float
    answered_accuracy: float | None

    @property
    def coverage(self) -> float:
        """The share of pictures that are answered."""
        return self.answered / self.n


def fit_confidence(probabilities: Tensor, targets: Tensor) -> Confidence:
    """Fit temperature and threshold on pictures that the network was not trained on.

    probabilities: (N, C) as the network gives them; targets: (N,) classes. The temperature minimises the negative
    log-likelihood (see `fit_temperature`) of targets that are softened to 1 - 1/(N + 2) (Platt 1999, "Probabilistic
    outputs for support vector machines", section 2.2): N right answers in N do not prove that the network never errs,
    and without it the best temperature would be 0. The threshold is the lowest calibrated probability such that, on the
    held-out pictures,

    1. at most the share ERROR of the answers at or above it is wrong (selective classification: El-Yaniv, Wiener
       2010; Geifman, El-Yaniv 2017, section 3, without their bound: on new pictures the share varies as in any sample
       of that size, so that a hundred pictures cannot tell 1 % from 3 %);
    2. it is at least the quantile REFUSED of the largest probabilities: a picture with a lower one is unlike nearly all
       held-out ones. Of new pictures drawn as these were at most the share REFUSED falls below this quantile,
       or 1 / (N + 1) where that is more (Vovk, Gammerman, Shafer 2005, "Algorithmic Learning in a Random World",
       section 2.2).

    It is 1 where no threshold satisfies both. On pictures like the held-out ones, answers are expected to be right with
    the rate 1 - ERROR; "unsure" means that too many answers would be wrong for pictures as hard as this one, or that
    nearly all held-out ones were easier. Nothing follows for pictures of something else for which the network is sure.
    Raises PellucidError for anything but probabilities and classes.
    """
    temperature = fit_temperature(probabilities, targets, spare=1 / (len(probabilities) + 2))
    sure, said = Confidence(temperature, 0.0).calibrate(probabilities).double().max(1)  # (N,)
    order = sure.argsort(descending=True)
    sure, wrong = sure[order], (said != targets.to(said.device))[order].long().cumsum(0)
    # A threshold cuts after the last of equally sure answers.
    cuts = torch.cat([sure[1:] < sure[:-1], sure.new_ones(1, dtype=torch.bool)]).nonzero().flatten()
    rank = max(1, math.floor(REFUSED * (len(sure) + 1)))  # of the quantile, from the least sure
    few = wrong[cuts] <= ERROR * (cuts + 1) + ROUNDING
    good = cuts[few & (sure[cuts] >= sure[-rank])]
    if not len(good):
        return Confidence(temperature, 1.0)
    lowest = float(sure[good[-1]])
    below = sure[sure < lowest]
    # Half way to the next lower probability, so that rounding moves no held-out picture across; 1 / C is the lowest.
    lower = float(below[0]) if len(below) else 1 / probabilities.shape[1]
    return Confidence(temperature, (lowest + lower) / 2)


def selective(probabilities: Tensor, targets: Tensor, confidence: Confidence) -> Selective:
    """Measure the coverage and accuracy of a confidence on pictures.

    probabilities: (N, C) as the network gives them, uncalibrated; targets: (N,).
    """
    check_targets(targets, len(probabilities), probabilities.shape[1])
    sure, said = confidence.calibrate(probabilities).double().max(1)
    kept, target = sure >= confidence.threshold, targets.to(said.device)
    answered = int(kept.sum())
    right = accuracy(target[kept], said[kept]) if answered else None
    return Selective(len(target), answered, accuracy(target, said), right)


def crossed(probabilities: Tensor, targets: Tensor, groups: Sequence[int], seed: int = 0) -> Selective | None:
    """Measure `fit_confidence` by two-fold cross-validation, where there are no other pictures.

    The pictures are halved by class and by `seed`, with those of the same group on one side, and each half is measured
    with the confidence that was fitted on the other (Stone 1974). groups: as of `hold_out`. None where a half has fewer
    than LEAST_HALF pictures.
    """
    check_targets(targets, len(probabilities), probabilities.shape[1])
    n = len(targets)
    first = hold_out(targets.tolist(), groups, range(n), 0.5, seed)
    second = sorted({*range(n)} - {*first})
    if min(len(first), len(second)) < LEAST_HALF:
        return None
    found = [
        selective(probabilities[there], targets[there], fit_confidence(probabilities[here], targets[here]))
        for here, there in ((first, second), (second, first))
    ]
    answered = sum(one.answered for one in found)
    right = sum(one.answered * (one.answered_accuracy or 0.0) for one in found)
    accurate = sum(one.n * one.accuracy for one in found) / n
    return Selective(n, answered, accurate, right / answered if answered else None)
