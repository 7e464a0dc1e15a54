"""Verification of a model: as written, as it trains, and as it predicts."""

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
    """Compare every gradient of a model on one batch, images as the networks take them; see pellucid.verify."""
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
    """Verify each network of an objective, at the inputs and output gradients that `gradients` passes to it."""
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
        for one in (call for call in calls if call.name == name):
            params, first = params_of(model.params, name), next(iter(tensors(one.x)))
            found = verify(net, params, one.x, first, _Product(one.dy), samples=samples, seed=model.seed)
            tables.append((name, found))
    rows = [
        replace(row, path=f"{name}.{row.path}") for name, table in tables for row in table.rows if row.path != "loss"
    ]
    culprit = next((f"{name}.{table.culprit}" for name, table in tables if table.culprit), None)
    notes = [f"not compared: what {type(objective).__name__} computes between its networks, such as its losses"]
    notes += [f"not compared: {name}, which no gradient reaches" for name in nets if name not in dict(tables)]
    return Table(tuple(rows), culprit, tuple(notes))


class _Call(NamedTuple):
    """One pass through a network: its input, and the gradient of its output."""

    name: str
    x: Any
    dy: Any


class _RecordedCache(NamedTuple):
    x: Any
    cache: Cache


@dataclass(frozen=True)
class _Recorded(StandIn):
    """A network that keeps what each backward pass through it was given."""

    name: str
    calls: list[_Call]

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Initialise the network."""
        return self.layer.init(shape, rng)

    def forward(self, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
        """Run the network."""
        y, cache = self.layer.forward(params, x, mode)
        return y, _RecordedCache(x, cache)

    def backward(self, params: Params, cache: Any, dy: Any) -> tuple[Any, Params]:
        """Record the call, and propagate back through the network."""
        self.calls.append(_Call(self.name, cache.x, dy))
        return self.layer.backward(params, cache.cache, dy)


@dataclass(frozen=True)
class _Product(Loss):
    """The sum of outputs times constants, whose gradient is these constants."""

    dy: Any

    def __call__(self, y: Any, target: Tensor) -> tuple[Tensor, Any]:
        """Return (value, dy)."""
        pairs = zip(tensors(y), cast(list[Tensor | None], tensors(self.dy)), strict=True)
        parts = [torch.zeros_like(one) if dy is None else dy.to(one) for one, dy in pairs]  # None: an unused output
        value = torch.stack([(one * dy).sum() for one, dy in zip(tensors(y), parts, strict=True)]).sum()
        return value, tuple(parts) if isinstance(y, tuple) else parts[0]

    def compute(self, y: Any, target: Tensor) -> tuple[Tensor, Any]:
        """Return (value, dy)."""
        return self(y, target)
