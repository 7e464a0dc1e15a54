"""Training with the optimizer's state divided among processes, run in several processes by tests."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.layers import BatchNorm, Conv2d, Dense, Flatten, ReLU
from pellucid.model import Model
from pellucid.optim import OPTIMIZERS, Adam, AdamW, MaxNorm, Optimizer, State
from pellucid.optim.base import tensors_of
from pellucid.optim.regularizers import L1, L2
from pellucid.training import loop
from pellucid.training.distributed import processes
from pellucid.training.step import TrainingStep
from tests.training.sharded import train_case
from tests.training.small import digits

CASE_NAMES = ("lenet", "dropout, schedule, clipping, average", "pix2pix", *(f"optimizer {name}" for name in OPTIMIZERS))


AMSGRAD = AdamW(0.01, amsgrad=True)


def model_with_all_settings(optimizer: Optimizer = AMSGRAD) -> Model:
    """Return a model with regularizers, learning-rate factors, frozen weights and, by default, AMSGrad."""
    net = Sequential(Conv2d(4, 3), BatchNorm(), ReLU(), Flatten(), Dense(20), ReLU(), Dense(10))
    rules = L1(1e-3), L2(1e-2, decoupled=True), MaxNorm(1.0)
    options = {"regularizer": rules, "input_shape": (1, 8, 8), "clip": 1.0, "seed": 3}
    model = Model(net, optimizer=optimizer, **options)
    model.freeze("conv2d1.*")
    model.scale_rate("dense2.*", 0.5)
    return model


def weights(shards: int, shard_optimizer: bool) -> dict[str, str]:
    """Train each case and return the hashes of the weights by name."""
    hashes = {name: train_case(name, shards=shards, shard_optimizer=shard_optimizer).sha256() for name in CASE_NAMES}
    model = model_with_all_settings()
    model.fit(digits(0, 50), epochs=2, batch_size=20, shards=shards, shard_optimizer=shard_optimizer, verbose=False)
    return {**hashes, "everything": model.sha256()}


def state_sizes(shard_optimizer: bool) -> list[int]:
    """Return the number of values of the optimizer's state in each process."""
    steps: list[TrainingStep] = []
    make_step = TrainingStep.of
    loop.TrainingStep.of = lambda *arguments, **options: steps.append(make_step(*arguments, **options)) or steps[0]
    model_with_all_settings().fit(digits(0, 50), epochs=1, shard_optimizer=shard_optimizer, verbose=False)
    return processes().from_all(sum(tensor.numel() for _, _, tensor in steps[0].state_tensors()))


def train_resumed(run: Path, epochs: int, shard_optimizer: bool) -> str:
    """Train from 6 shards in a run folder, starting at its last checkpoint; return the hash of the weights."""
    loop.TICK = 0.0  # save a checkpoint after every step
    model = model_with_all_settings()
    options = {"run": run, "resume": True, "shards": 6, "shard_optimizer": shard_optimizer, "verbose": False}
    model.fit(digits(0, 60), epochs=epochs, batch_size=24, checkpoint_seconds=0.0, **options)
    return model.sha256()


@dataclass(frozen=True)
class NormalizedAdam(Adam):
    """Adam with gradients of norm 1; the update of each value depends on all gradients."""

    def update(self, params: list[Tensor], grads: list[Tensor], state: State, lr: float) -> None:
        super().update(params, [grad / grad.norm() for grad in grads], state, lr)


@dataclass(frozen=True)
class SignOptimizer(Optimizer):
    """A user-defined elementwise optimizer."""

    elementwise: ClassVar[bool] = True
    lr: float = 0.01

    def init(self, params: list[Tensor]) -> State:
        return {"mean": [torch.zeros_like(param) for param in params]}

    def update(self, params: list[Tensor], grads: list[Tensor], state: State, lr: float) -> None:
        for param, grad, mean in zip(params, grads, tensors_of(state, "mean"), strict=True):
            param.sub_(mean.lerp_(grad, 0.1).sign(), alpha=lr)


def train_user_optimizers(shard_optimizer: bool) -> list[str]:
    """Train with NormalizedAdam and SignOptimizer; return for each the hash of the weights or the error's message."""
    result: list[str] = []
    for optimizer in (NormalizedAdam(), SignOptimizer()):
        model = model_with_all_settings(optimizer)
        try:
            model.fit(digits(0, 20), epochs=1, shards=2, shard_optimizer=shard_optimizer, verbose=False)
            result.append(model.sha256())
        except PellucidError as error:
            result.append(str(error))
    return result
