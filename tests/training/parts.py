"""Training with exact=False, run in several processes by tests."""

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

MODEL_OPTIONS: dict[str, Any] = {"precision": "float64", "seed": SEED, "metrics": ()}
LEARNING_RATE = 0.01
# With LEARNING_RATE, a rounding error of 2e-16 in the initial weights of these objectives grows within 50 steps to
# 1e-7 to 0.4 in the loss, even in one process; with 1e-4, it stays below 1e-13. In pix2pix's weights it reaches 1e-12.
SMALL_RATES = dict.fromkeys(("single_stage", "faster_rcnn", "mask_rcnn", "keypoint_rcnn"), 1e-4)
SMALL_RATES["pix2pix, hinge, hints"] = 1e-3
IGNORED_CLASS_CASE = "classifier that ignores most classes"
# All objectives are trained with synchronized batch norm, and those with batch norm also without batch statistics.
CASES = [IGNORED_CLASS_CASE, *(name for name in OBJECTIVES if not OBJECTIVES[name]().indivisible)]


def case(name: str, batch_norm: str) -> tuple[Model, Any, int]:
    """Return a model, its data, and a batch size with which the last batch is smaller."""
    if name == IGNORED_CLASS_CASE:  # in many batches, all examples of one process have the weight 0
        rng = torch.Generator().manual_seed(0)
        data = Dataset.from_arrays(torch.rand(12, 1, 8, 8, generator=rng).double(), torch.arange(12) % 3 // 2)
        norms = BatchNorm() if batch_norm == "sync" else ReLU(), ReLU()
        net = Sequential(Conv2d(3, 3), *norms, Flatten(), Dropout(0.3), Dense(2))
        options = {"optimizer": Momentum(LEARNING_RATE), **MODEL_OPTIONS}
        return Model(net, loss=SoftmaxCrossEntropy(ignore=0), input_shape=(1, 8, 8), **options), data, 7
    objective = OBJECTIVES[name]()
    if isinstance(objective, Zhang) and batch_norm == "local":
        objective = replace(objective, uniform=1.0)  # colour weights are computed from the part of each process
    data = Examples(objective)
    data.images = data.images.double()
    if batch_norm == "local":
        objective = without_statistics(objective)
    # The batch of a WGAN is divided among the updates of its critic.
    batch_size = 4 if name == "wgan_gp" or len(data) < 8 else len(data) // 2 + 1
    options = {"optimizer": Momentum(SMALL_RATES.get(name, LEARNING_RATE)), **MODEL_OPTIONS}
    return Model(objective, input_shape=tuple(data.images.shape[1:]), **options), data, batch_size


def train_cases(epochs: int) -> Any:
    """Return weights and losses of each case with each kind of batch norm; None in all processes but the first."""
    result: dict[tuple[str, str], Any] = {}
    for batch_norm in ("sync", "local"):
        for name in CASES:
            model, data, batch_size = case(name, batch_norm)
            options = {"exact": False, "batch_norm": batch_norm, "verbose": False}
            history = model.fit(data, epochs=epochs, batch_size=batch_size, **options)
            result[batch_norm, name] = {path: w.numpy() for path, w in model.weights.items()}, history["train_loss"]
    return result if processes().is_first else None
