"""Fitting a `Confidence` on held-out pictures, and measuring what it keeps."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.calibration.confidence import Confidence, check_targets, fit_temperature
from pellucid.metrics import accuracy
from pellucid.tasks.splitting import hold_out

# Of the answers, at most this share may be wrong on the held-out pictures. Whoever acts on a gesture can bear one slip
# in twenty, as when people mishear one another; a much smaller share cannot be told from none by a hundred pictures.
ERROR = 0.05
LEAST_HALF = round(1 / ERROR)  # pictures: of fewer, a single wrong answer would already be more than ERROR
REFUSED = 0.01  # of pictures like the held-out ones may be called unsure although their answers would be right
ROUNDING = 1e-9  # of ERROR times a count


@dataclass(frozen=True)
class Selective:
    """What a confidence does to `n` pictures with known classes.

    answered: how many get an answer, not "unsure". accuracy: the share of all that would be right;
    answered_accuracy: of those answered, None where there are none.
    """

    n: int
    answered: int
    accuracy: float
    answered_accuracy: float | None

    @property
    def coverage(self) -> float:
        """The share of pictures that get an answer."""
        return self.answered / self.n


def fit_confidence(probabilities: Tensor, targets: Tensor) -> Confidence:
    """Fit temperature and threshold on pictures that the network has not learnt from.

    probabilities: (N, C) as the network gives them; targets: (N,) classes. The temperature minimises the negative
    log-likelihood (see `fit_temperature`) of targets that are softened to 1 - 1/(N + 2) (Platt 1999, "Probabilistic
    outputs for support vector machines", section 2.2): N right answers in N do not prove that the network never errs,
    and without it the best temperature would be 0. The threshold is the lowest calibrated probability such that, on the
    held-out pictures,

    1. at most the share ERROR of the answers at or above it is wrong (selective classification: El-Yaniv, Wiener
       2010; Geifman, El-Yaniv 2017, section 3, without their bound: on new pictures the share varies as in any sample
       of that size, so that a hundred pictures cannot tell 1 % from 3 %);
    2. it is at least the quantile REFUSED of how sure the network is: what it is less sure of than of nearly all of
       them is unlike them. Of new pictures drawn as these were at most the share REFUSED falls below this quantile,
       or 1 / (N + 1) where that is more (Vovk, Gammerman, Shafer 2005, "Algorithmic Learning in a Random World",
       section 2.2).

    It is 1 where there is none. So what is answered promises to be right as often as 1 - ERROR on pictures like the
    held-out ones; "unsure" says that of pictures so hard too many would be answered wrong, or that nearly all held-out
    ones were easier. Nothing is promised about pictures of something else of which the network happens to be sure.
    Raises PellucidError for what are no probabilities or classes.
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
    # Half way to the next less sure one, so that rounding moves no held-out picture across; 1 / C is no answer at all.
    lower = float(below[0]) if len(below) else 1 / probabilities.shape[1]
    return Confidence(temperature, (lowest + lower) / 2)


def selective(probabilities: Tensor, targets: Tensor, confidence: Confidence) -> Selective:
    """Measure what a confidence answers of pictures, and how often that is right.

    probabilities: (N, C) as the network gives them, uncalibrated; targets: (N,).
    """
    check_targets(targets, len(probabilities), probabilities.shape[1])
    sure, said = confidence.calibrate(probabilities).double().max(1)
    kept, target = sure >= confidence.threshold, targets.to(said.device)
    answered = int(kept.sum())
    right = accuracy(target[kept], said[kept]) if answered else None
    return Selective(len(target), answered, accuracy(target, said), right)


def crossed(probabilities: Tensor, targets: Tensor, groups: Sequence[int], seed: int = 0) -> Selective | None:
    """Measure what `fit_confidence` promises, where it has no other pictures than these: by fitting on each half.

    The pictures are halved by class and by `seed`, with those of the same group on one side. What is fitted on one half
    is measured on the other, both ways, so that no picture is measured by what was fitted on it (two-fold
    cross-validation: Stone 1974). groups: as of `hold_out`. None where a half has fewer than LEAST_HALF pictures.
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
