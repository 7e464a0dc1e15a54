"""Calibrated probabilities: temperature scaling, and a threshold below which a classifier is unsure."""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.errors import PellucidError

KEYS = ("temperature", "threshold")
HOTTEST = 1e4  # every output is nearly uniform there


@dataclass(frozen=True)
class Confidence:
    """Temperature scaling, and the calibrated probability below which an answer is "unsure".

    temperature: divides the logits, above 0; 1 leaves probabilities as they are, more makes them less sure.
    threshold: 0 (always sure) to 1. Guo, Pleiss, Sun, Weinberger 2017, "On Calibration of Modern Neural Networks",
    section 4.2. Raises PellucidError for values outside these ranges.
    """

    temperature: float
    threshold: float

    def __post_init__(self) -> None:
        """Refuse values outside the ranges."""
        if not (is_number(self.temperature) and 1 / HOTTEST <= self.temperature <= HOTTEST):
            raise PellucidError(
                f"confidence: temperature must be a number from {1 / HOTTEST:g} to {HOTTEST:g}, "
                f"not {self.temperature!s:.40}; 1 leaves probabilities as they are"
            )
        if not (is_number(self.threshold) and 0 <= self.threshold <= 1):
            raise PellucidError(
                f"confidence: threshold must be a number from 0 to 1, not {self.threshold!s:.40}; "
                "0 calls no answer unsure"
            )

    def calibrate(self, probabilities: Tensor) -> Tensor:
        """Return softmax(log p / T) of probabilities (N, C): the softmax of the logits over T, without the logits.

        The order of the classes stays. A probability of 0 counts as the smallest positive number of its type, so that
        any temperature gives finite values. Raises PellucidError for another shape, and for values that are no
        probabilities.
        """
        return torch.softmax(log_probabilities(probabilities) / self.temperature, 1)

    def to_json(self) -> dict[str, float]:
        """Return the two numbers by name."""
        return {"temperature": self.temperature, "threshold": self.threshold}

    @classmethod
    def from_json(cls, value: Any) -> "Confidence":
        """Build from what `to_json` returned; PellucidError for anything else."""
        if not isinstance(value, Mapping) or set(value) != set(KEYS):
            raise PellucidError(f"confidence must hold {' and '.join(KEYS)}, not {value!s:.80}")
        return cls(*(value[key] for key in KEYS))


def log_probabilities(probabilities: Tensor) -> Tensor:
    """Return log p of probabilities (N, C), finite for 0; PellucidError for anything else."""
    if probabilities.dim() != 2 or probabilities.shape[1] < 2 or not probabilities.is_floating_point():
        kind = str(probabilities.dtype).removeprefix("torch.")
        raise PellucidError(
            f"confidence needs probabilities (N, classes), float, of two classes at least, "
            f"not {tuple(probabilities.shape)} {kind}"
        )
    p = probabilities.float() if probabilities.dtype.itemsize < 4 else probabilities
    if not bool(((p >= 0) & (p <= 1 + 1e-3)).all()):  # false for NaN
        raise PellucidError("confidence needs probabilities from 0 to 1; end the network in a softmax, or check it")
    return p.clamp_min(torch.finfo(p.dtype).tiny).log()


def is_number(value: Any) -> bool:
    """Return whether a value from a file is a finite number."""
    # No bool, no text; a comparison, as math.isfinite raises OverflowError for integers beyond the range of floats.
    return type(value) in (int, float) and -sys.float_info.max <= value <= sys.float_info.max


SHARPEST, FLATTEST = 0.01, 100.0  # temperatures; outside, all outputs are nearly certain or nearly uniform
HALVINGS = 60


def fit_temperature(probabilities: Tensor, targets: Tensor, spare: float = 0.0) -> float:
    """Return the temperature T for which softmax(log p / T) has the lowest negative log-likelihood.

    probabilities: (N, C); targets: (N,) classes. spare: the probability of all classes other than the target
    together. The result lies within SHARPEST to FLATTEST. In 1/T the likelihood is convex, so that its slope
    has one root, found by halving. Raises PellucidError for anything but probabilities and classes. Guo et al. 2017,
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
