"""Verification of a model's gradients: of the network as written, and of its forms for training and prediction."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from pellucid.data.source import Batch
from pellucid.errors import PellucidError
from pellucid.layers.base import Cache, Mode, Params
from pellucid.losses import Loss
from pellucid.objective import Objective, StandIn, Supervised, merged, params_of, seeded
from pellucid.probe import tensors
from pellucid.training.learner import Learner
from pellucid.training.step import training_of
from pellucid.verify import verify
from pellucid.verify_table import Table


def verify_model(model: Learner, batch: Batch, samples: int) -> Table:
    """Compare all gradients of a model with independently computed ones on one batch; see pellucid.verify.

    The images of `batch` are already standardized; samples: see `pellucid.verify.verify`.
    """
    objective = model.objective
    if not isinstance(objective, Supervised):
        return _verify_networks(model, objective, batch, samples)
    training = training_of(
        model.optimizer, model.regularizers, model.clip, model.precision, model.frozen, model.rates, model.device
    )  # fmt: skip
    return verify(
        objective.net, model.params, batch.images, batch.targets, objective.loss,
        samples=samples, seed=model.seed, training=training,
    )  # fmt: skip


def _verify_networks(model: Learner, objective: Objective, batch: Batch, samples: int) -> Table:
    """Verify each network of an objective, with the inputs and output gradients that `gradients` passes to it."""
    calls: list[_Call] = []
    nets = {name: _Recorded(net, name, calls) for name, net in objective.nets.items()}
    with torch.no_grad():
        merged(objective.with_nets(nets).gradients(model.params, batch, Mode(rng=seeded(model.device, model.seed))))
    if not calls:
        raise PellucidError(
            f"verify: {type(objective).__name__}.gradients passes no gradient to a network on this batch"
        )
    tables: list[tuple[str, Table]] = []
    for name, net in objective.nets.items():
        for call in (call for call in calls if call.name == name):
            params, first = params_of(model.params, name), next(iter(tensors(call.x)))
            # The target is not used by this loss; it only has to be a tensor on the right device.
            table = verify(net, params, call.x, first, _Product(call.dy), samples=samples, seed=model.seed)
            tables.append((name, table))
    rows = [
        replace(row, path=f"{name}.{row.path}") for name, table in tables for row in table.rows if row.path != "loss"
    ]
    culprits = ((name, table.culprit) for name, table in tables if table.culprit is not None)
    culprit = next((f"{name}.{path}" if path else name for name, path in culprits), None)
    notes = [f"not compared: computations of {type(objective).__name__} outside its networks, such as its losses"]
    notes += [f"not compared: {name}, which receives no gradient" for name in nets if name not in dict(tables)]
    return Table(tuple(rows), culprit, tuple(notes))


class _Call(NamedTuple):
    """One pass through a network: its name, its input, and the gradient with respect to its output."""

    name: str
    x: Any
    dy: Any


class _RecordedCache(NamedTuple):
    x: Any
    cache: Cache


@dataclass(frozen=True)
class _Recorded(StandIn):
    """A network that records the input and the output gradient of each backward pass in `calls`."""

    name: str
    calls: list[_Call]

    def forward(self, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
        """Run the network; its input becomes part of the cache."""
        y, cache = self.layer.forward(params, x, mode)
        return y, _RecordedCache(x, cache)

    def backward(self, params: Params, cache: Any, dy: Any) -> tuple[Any, Params]:
        """Record the call, and propagate back through the network."""
        self.calls.append(_Call(self.name, cache.x, dy))
        return self.layer.backward(params, cache.cache, dy)


@dataclass(frozen=True)
class _Product(Loss):
    """The sum of outputs times constants dy, whose gradient is dy."""

    dy: Any

    def __call__(self, y: Any, target: Tensor) -> tuple[Tensor, Any]:
        """Return (value, dy)."""
        pairs = zip(tensors(y), cast(list[Tensor | None], tensors(self.dy)), strict=True)
        dys = [torch.zeros_like(part) if dy is None else dy.to(part) for part, dy in pairs]  # None: an unused output
        value = torch.stack([(part * dy).sum() for part, dy in zip(tensors(y), dys, strict=True)]).sum()
        return value, tuple(dys) if isinstance(y, tuple) else dys[0]

    def compute(self, y: Any, target: Tensor) -> tuple[Tensor, Any]:
        """Return (value, dy)."""
        return self(y, target)
