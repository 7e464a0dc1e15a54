"""The batches of a training: the examples in their order, augmented and standardised as the model asks."""

from collections.abc import Callable

import torch
from torch import Tensor

from pellucid.data import Loader
from pellucid.train.examples import Examples
from pellucid.train.learner import Learner

Augmentation = Callable[[Tensor, torch.Generator], Tensor]


def batches(model: Learner, data: Examples, batch_size: int, augment: Augmentation | None) -> Loader:
    """Return the batches that the model sees in training; PellucidError for a batch size that does not fit."""
    transform = None if model.stats is None else model.stats.apply
    return Loader(data, batch_size, model.seed, augment, transform=transform)
