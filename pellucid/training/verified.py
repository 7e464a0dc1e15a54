"""Verification of a model: as written, as it trains, and as it predicts."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import Tensor

from pellucid.objective import Supervised
from pellucid.optim import MaxNorm, Optimizer, Regularizer
from pellucid.training.device import usable_precision
from pellucid.training.learner import Learner
from pellucid.training.step import learns_in_sweep
from pellucid.verify import verify
from pellucid.verify_forms import Training
from pellucid.verify_table import Table


def verify_model(model: Learner, objective: Supervised, x: Any, target: Tensor, samples: int) -> Table:
    """Compare every gradient of a model on one batch, x as the network takes it; see pellucid.verify."""
    training = training_of(model.optimizer, model.regularizers, model.clip, model.precision, model.frozen, model.rates)
    return verify(
        objective.net, model.params, x, target, objective.loss, samples=samples, seed=model.seed, training=training
    )


def training_of(
    optimizer: Optimizer,
    regularizers: Sequence[Regularizer | MaxNorm],
    clip: float | None,
    precision: str,
    frozen: Collection[str],
    rates: Mapping[str, float],
) -> Training:
    """Return how a network trains with these settings of a model or a recipe."""
    usable, _ = usable_precision(precision)
    return Training(frozenset(frozen), learns_in_sweep(optimizer, regularizers, clip, usable, frozen, rates))
