"""Verification of a model: as written, as it trains, and as it predicts."""

from typing import Any

from torch import Tensor

from pellucid.train.learner import Learner
from pellucid.train.precision import usable_precision
from pellucid.train.step import learns_in_sweep
from pellucid.verify import Table, verify
from pellucid.verify_forms import Training


def verify_model(model: Learner, x: Any, target: Tensor, samples: int) -> Table:
    """Compare every gradient of a model on one batch, x as the network takes it; see pellucid.verify."""
    precision = usable_precision(model.precision)[0]
    in_sweep = learns_in_sweep(model.optimizer, model.regularizers, model.clip, precision, model.frozen, model.rates)
    training = Training(frozenset(model.frozen), in_sweep)
    return verify(model.net, model.params, x, target, model.loss, samples=samples, seed=model.seed, training=training)
