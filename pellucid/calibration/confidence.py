"""Calibrated probabilities: temperature scaling, and a threshold below which a prediction is unsure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import is_number
from pellucid.base.text import plural, value_range

JSON_KEYS = ("temperature", "threshold")
MAX_TEMPERATURE = 1e4  # makes all probabilities nearly uniform


@dataclass(frozen=True)
class Confidence:
    """Temperature scaling, and the calibrated probability below which a prediction is "unsure".

    Guo, Pleiss, Sun and Weinberger 2017, "On calibration of modern neural networks", section 4.2.
    Raises PellucidError for values outside these ranges.
    """

    # divides the logits, from 1 / MAX_TEMPERATURE to MAX_TEMPERATURE; 1 leaves probabilities unchanged, higher values
    # make them more uniform
    temperature: float
    threshold: float  # from 0 (no prediction is unsure) to 1

    def __post_init__(self) -> None:
        """Raise PellucidError for values outside the ranges."""
        if not (is_number(self.temperature) and 1 / MAX_TEMPERATURE <= self.temperature <= MAX_TEMPERATURE):
            raise PellucidError(
                f"confidence: temperature must be a number from {1 / MAX_TEMPERATURE:g} to {MAX_TEMPERATURE:g}, "
                f"not {self.temperature!s:.40}; 1 leaves probabilities unchanged"
            )
        if not (is_number(self.threshold) and 0 <= self.threshold <= 1):
            raise PellucidError(
                f"confidence: threshold must be a number from 0 to 1, not {self.threshold!s:.40}; "
                "with 0, no prediction is unsure"
            )

    def calibrate(self, probabilities: Tensor) -> Tensor:
        """Return the calibrated probabilities softmax(log p / T), (N, C), for probabilities p (N, C).

        They equal softmax(logits / T); the order of the classes does not change. A probability of 0 counts as the
        smallest positive normal number of its dtype (float32 if narrower), so the result is finite for any temperature.
        Raises PellucidError unless p is a float tensor (N, C) of at least two classes with values from 0 to 1.
        """
        return torch.softmax(log_probabilities(probabilities) / self.temperature, 1)

    def to_json(self) -> dict[str, float]:
        """Return temperature and threshold by name."""
        return {"temperature": self.temperature, "threshold": self.threshold}

    @classmethod
    def from_json(cls, value: Any) -> "Confidence":
        """Build a Confidence from the result of `to_json`; raise PellucidError for other values."""
        if not isinstance(value, Mapping) or set(value) != set(JSON_KEYS):
            raise PellucidError(f"confidence must contain {' and '.join(JSON_KEYS)}, not {value!s:.80}")
        return cls(temperature=value["temperature"], threshold=value["threshold"])


def log_probabilities(probabilities: Tensor) -> Tensor:
    """Return log p for probabilities p (N, C), finite also for p = 0; raise PellucidError for other tensors."""
    if probabilities.dim() != 2 or probabilities.shape[1] < 2 or not probabilities.is_floating_point():
        kind = str(probabilities.dtype).removeprefix("torch.")
        raise PellucidError(
            f"confidence needs float probabilities (N, classes) of at least two classes, "
            f"not {tuple(probabilities.shape)} {kind}"
        )
    p = probabilities.float() if probabilities.dtype.itemsize < 4 else probabilities
    if not bool(((p >= 0) & (p <= 1 + 1e-3)).all()):  # false for NaN; half precision may round a little above 1
        raise PellucidError("confidence needs probabilities from 0 to 1; end the network in a softmax, or check it")
    return p.clamp_min(torch.finfo(p.dtype).tiny).log()


# Limits of a fitted temperature; beyond them, all probabilities are nearly 0 or 1, or nearly uniform.
MIN_FITTED, MAX_FITTED = 0.01, 100.0
N_BISECTIONS = 60


def fit_temperature(probabilities: Tensor, targets: Tensor, other_probability: float = 0.0) -> float:
    """Return the temperature T for which softmax(log p / T) has the lowest negative log-likelihood.

    probabilities: (N, C); targets: (N,), class indices. other_probability: the total target probability of all other
    classes, as in label smoothing. The result is between MIN_FITTED and MAX_FITTED. The negative log-likelihood is
    convex in 1/T, so the root of its derivative is found by bisection. Raises PellucidError for invalid
    probabilities or class indices. Guo et al. 2017, section 4.2.
    """
    z = log_probabilities(probabilities.detach()).double()  # (N, C): logits up to a constant
    n, n_classes = z.shape
    check_targets(targets, n, n_classes)
    z = z - z.amax(1, keepdim=True)
    soft_targets = torch.full_like(z, other_probability / (n_classes - 1))
    soft_targets.scatter_(1, targets.to(z.device).long()[:, None], 1 - other_probability)  # (N, C)
    target_mean = (soft_targets * z).sum(1).mean()

    def slope(inverse_temperature: float) -> float:
        """Return the derivative, with respect to 1/T, of the mean negative log-likelihood; it grows with 1/T."""
        return float((torch.softmax(z * inverse_temperature, 1) * z).sum(1).mean() - target_mean)

    low, high = math.log(1 / MAX_FITTED), math.log(1 / MIN_FITTED)
    for _ in range(N_BISECTIONS):
        midpoint = (low + high) / 2
        if slope(math.exp(midpoint)) < 0:
            low = midpoint
        else:
            high = midpoint
    return math.exp(-(low + high) / 2)


def negative_log_likelihood(probabilities: Tensor, targets: Tensor, temperature: float = 1.0) -> float:
    """Return the mean negative log-likelihood of target classes (N,) for probabilities (N, C) at a temperature."""
    logits = log_probabilities(probabilities).double() / temperature
    return F.cross_entropy(logits, targets.long()).item()


def check_targets(targets: Tensor, n: int, n_classes: int) -> None:
    """Raise PellucidError unless targets are n class indices, 0 to `n_classes` - 1, and n is at least 1."""
    if targets.dim() != 1 or len(targets) != n or not n or targets.is_floating_point():
        raise PellucidError(
            f"confidence: targets of shape {tuple(targets.shape)} and {targets.dtype} for {n} examples; give one class "
            "index per example, for at least one example"
        )
    if int(targets.min()) < 0 or int(targets.max()) >= n_classes:
        raise PellucidError(
            f"confidence: targets contain {value_range('class', 'classes', targets)}, but the probabilities "
            f"have {plural(n_classes, 'class', 'classes')}; number them 0 to {n_classes - 1}"
        )
