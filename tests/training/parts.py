"""Train with exact=False, and return the weights of each case: run by tests in processes."""

from dataclasses import replace
from typing import Any

import torch

from pellucid.combine import Sequential
from pellucid.data import Dataset
from pellucid.generators import Zhang
from pellucid.layers import BatchNorm, Conv2d, Dense, Dropout, Flatten, ReLU
from pellucid.losses import SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.optim import Momentum
from pellucid.training.distributed import processes
from tests.objectives import OBJECTIVES
from tests.training.sharded import Examples
from tests.training.whole_batch import SEED, without_statistics

# All objectives: with batch norm as it is, and those that have some also without statistics of batches.
MODEL_OPTIONS: dict[str, Any] = {"precision": "float64", "seed": SEED, "metrics": ()}
LEARNING_RATE = 0.01
# With LEARNING_RATE, 50 steps of these make of a rounding error in the first weights (2e-16) one of 1e-7 to 0.4 in the
# loss, in one process too; with this rate, one below 1e-13. Of the pix2pix they make one of 1e-12 in the weights.
SMALL_RATES = dict.fromkeys(("single_stage", "faster_rcnn", "mask_rcnn", "keypoint_rcnn"), 1e-4)
SMALL_RATES["pix2pix, hinge, hints"] = 1e-3
IGNORED_CLASS_CASE = "classifier that ignores most classes"
CASES = [IGNORED_CLASS_CASE, *(name for name in OBJECTIVES if not OBJECTIVES[name]().indivisible)]


def case(name: str, batch_norm: str) -> tuple[Model, Any, int]:
    """Return a model, its data, and a batch size that leaves an uneven last batch."""
    if name == IGNORED_CLASS_CASE:  # in many batches, the examples of one process have no weight at all
        rng = torch.Generator().manual_seed(0)
        data = Dataset.from_arrays(torch.rand(12, 1, 8, 8, generator=rng).double(), torch.arange(12) % 3 // 2)
        norms = BatchNorm() if batch_norm == "sync" else ReLU(), ReLU()
        net = Sequential(Conv2d(3, 3), *norms, Flatten(), Dropout(0.3), Dense(2))
        options = {"optimizer": Momentum(LEARNING_RATE), **MODEL_OPTIONS}
        return Model(net, loss=SoftmaxCrossEntropy(ignore=0), input_shape=(1, 8, 8), **options), data, 7
    objective = OBJECTIVES[name]()
    if isinstance(objective, Zhang) and batch_norm == "local":
        objective = replace(objective, uniform=1.0)  # the weights of colours are statistics of each part
    data = Examples(objective)
    data.images = data.images.double()
    if batch_norm == "local":
        objective = without_statistics(objective)
    # A WGAN divides a batch among the updates of its critic.
    batch_size = 4 if name == "wgan_gp" or len(data) < 8 else len(data) // 2 + 1
    options = {"optimizer": Momentum(SMALL_RATES.get(name, LEARNING_RATE)), **MODEL_OPTIONS}
    return Model(objective, input_shape=tuple(data.images.shape[1:]), **options), data, batch_size


def train_cases(epochs: int) -> Any:
    """Return weights and losses of each case with each kind of batch norm; None but for the first process."""
    result: dict[tuple[str, str], Any] = {}
    for batch_norm in ("sync", "local"):
        for name in CASES:
            model, data, batch_size = case(name, batch_norm)
            options = {"exact": False, "batch_norm": batch_norm, "verbose": False}
            history = model.fit(data, epochs=epochs, batch_size=batch_size, **options)
            result[batch_norm, name] = {path: w.numpy() for path, w in model.weights.items()}, history["train_loss"]
    return result if processes().is_first else None
