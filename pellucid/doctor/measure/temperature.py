"""The one number that would make probabilities as sure as they are right."""

import torch
from torch import Tensor

from pellucid.train.confidence import log_probabilities

COLDEST, HOTTEST = 0.01, 100.0
HALVINGS = 50


def temperature(probabilities: Tensor, target: Tensor) -> float:
    """Return the T for which softmax(log p / T) has the lowest negative log-likelihood; p (N, C), classes (N,).

    The likelihood is convex in 1 / T, so its slope is 0 at one place only. Guo et al. 2017, section 4.2.
    """
    logits = log_probabilities(probabilities).double()
    right = logits.gather(1, target.long()[:, None]).mean()
    low, high = 1 / HOTTEST, 1 / COLDEST
    for _ in range(HALVINGS):
        middle = (low * high) ** 0.5
        slope = (torch.softmax(logits * middle, 1) * logits).sum(1).mean() - right
        low, high = (low, middle) if slope > 0 else (middle, high)
    return 1 / (low * high) ** 0.5


def likelihood(probabilities: Tensor, target: Tensor, temperature: float = 1.0) -> float:
    """Return the mean negative log-likelihood of the classes at a temperature."""
    logits = log_probabilities(probabilities).double() / temperature
    return torch.nn.functional.cross_entropy(logits, target.long()).item()
