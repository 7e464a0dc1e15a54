"""The one number that would make probabilities as sure as they are right."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.calibration.confidence import log_probabilities
from pellucid.errors import PellucidError

SHARPEST, FLATTEST = 0.01, 100.0  # temperatures; outside, all answers are certain or none tells anything
HALVINGS = 60


def fit_temperature(probabilities: Tensor, targets: Tensor, spare: float = 0.0) -> float:
    """Return the temperature T for which softmax(log p / T) has the lowest negative log-likelihood.

    probabilities: (N, C); targets: (N,) classes. spare: how probable it is that the class is another than the target,
    any of the others. The result lies within SHARPEST to FLATTEST. In 1/T the likelihood is convex, so that its slope
    has one root, found by halving. Raises PellucidError for what are no probabilities or classes. Guo et al. 2017,
    section 4.2.
    """
    z = log_probabilities(probabilities.detach()).double()  # (N, C): logits up to a constant
    n, classes = z.shape
    check_targets(targets, n, classes)
    z = z - z.amax(1, keepdim=True)
    soft = torch.full_like(z, spare / (classes - 1))
    soft.scatter_(1, targets.to(z.device).long()[:, None], 1 - spare)  # (N, C)
    wanted = (soft * z).sum(1).mean()

    def slope(inverse: float) -> float:
        """The derivative of the mean of logsumexp(z / T) - soft . z / T by 1/T, which grows with 1/T."""
        return float((torch.softmax(z * inverse, 1) * z).sum(1).mean() - wanted)

    low, high = math.log(1 / FLATTEST), math.log(1 / SHARPEST)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if slope(math.exp(middle)) < 0:
            low = middle
        else:
            high = middle
    return math.exp(-(low + high) / 2)


def likelihood(probabilities: Tensor, targets: Tensor, temperature: float = 1.0) -> float:
    """Return the mean negative log-likelihood of classes (N,) at a temperature; probabilities: (N, C)."""
    logits = log_probabilities(probabilities).double() / temperature
    return F.cross_entropy(logits, targets.long()).item()


def check_targets(targets: Tensor, n: int, classes: int) -> None:
    """Raise PellucidError unless there is a class, 0 to `classes` - 1, for each of n pictures, and a picture."""
    if targets.dim() != 1 or len(targets) != n or not n or targets.is_floating_point():
        raise PellucidError(
            f"confidence: {tuple(targets.shape)} targets for {n} pictures; give one class for each, and one picture"
        )
    if int(targets.min()) < 0 or int(targets.max()) >= classes:
        raise PellucidError(
            f"confidence: targets are classes {int(targets.min())} to {int(targets.max())}, but the probabilities are "
            f"of {classes}; number them 0 to {classes - 1}"
        )
