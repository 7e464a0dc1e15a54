"""Verification of a model: as written, as it trains, and as it predicts."""

from typing import Any

from torch import Tensor

from pellucid.objective import Supervised
from pellucid.training.learner import Learner
from pellucid.training.step import training_of
from pellucid.verify import verify
from pellucid.verify_table import Table


def verify_model(model: Learner, objective: Supervised, x: Any, target: Tensor, samples: int) -> Table:
    """Compare every gradient of a model on one batch, x as the network takes it; see pellucid.verify."""
    training = training_of(
        model.optimizer, model.regularizers, model.clip, model.precision, model.frozen, model.rates, model.device
    )  # fmt: skip
    return verify(
        objective.net, model.params, x, target, objective.loss, samples=samples, seed=model.seed, training=training
    )
