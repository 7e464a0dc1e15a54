"""The interface of models in the training loop."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol

import torch

if TYPE_CHECKING:
    from pellucid.data import FeatureStats
    from pellucid.layers.base import Params
    from pellucid.metrics import MetricLike
    from pellucid.objective import Objective
    from pellucid.optim import MaxNorm, Optimizer, Regularizer, Schedule
    from pellucid.training.averaging import WeightAverage


class Learner(Protocol):
    """The attributes and methods of a model that the training loop and its callbacks use.

    `Model` implements them; the loop cannot import `Model`, which imports the loop.
    """

    objective: Objective
    optimizer: Optimizer
    optimizers: dict[str, Optimizer]  # by network name; empty if one optimizer is used for all
    schedule: Schedule
    regularizers: tuple[Regularizer | MaxNorm, ...]
    metrics: tuple[MetricLike, ...]
    classes: tuple[str, ...] | None  # names, None if targets are not classes
    clip: float | None  # the largest norm of the gradients, None for no limit
    average: WeightAverage | None  # None without averaging
    precision: str  # one of PRECISIONS, such as "float32"
    seed: int
    earlier_steps: int  # of trainings that this one continues; a step's random draws depend on its number among all
    frozen: set[str]  # paths of parameters that are not updated
    rates: dict[str, float]  # factors of the learning rate, by path
    custom: tuple[Any, ...]  # classes and functions of the user that files of the model name
    device: torch.device

    @property
    def params(self) -> Params:
        """The weights, which training changes in place."""
        ...

    @property
    def stats(self) -> FeatureStats | None:
        """The mean and standard deviation with which inputs are standardized, or None."""
        ...

    def about(self) -> dict[str, Any]:
        """Return the description of the model in a weights file."""
        ...

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the weights file."""
        ...
