"""Overconfident probabilities whose temperature is known."""

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor


def draw_predictions(
    n: int, temperature: float, classes: int = 5, seed: int = 0, scale: float = 4.0
) -> tuple[Tensor, Tensor]:
    """Return probabilities (n, classes), overconfident by `temperature`, and targets (n,) drawn from the true ones."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, scale, (n, classes))
    true_probabilities = softmax(logits / temperature, axis=1)
    targets = (true_probabilities.cumsum(1) > rng.random((n, 1))).argmax(1)
    return torch.tensor(softmax(logits, axis=1)), torch.tensor(targets)
