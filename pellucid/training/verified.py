"""Verification of a model's gradients: of the network as written, and of its forms for training and prediction."""

from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.combine.nets import params_of
from pellucid.data.source import Batch
from pellucid.losses import Loss
from pellucid.objective import Objective, Supervised
from pellucid.training.learner import Learner
from pellucid.training.step import describe_training
from pellucid.verify import verify
from pellucid.verify.objective import verify_objective
from pellucid.verify.probe import tensors
from pellucid.verify.table import GradientTable


def verify_model(model: Learner, batch: Batch, samples: int) -> GradientTable:
    """Compare all gradients of a model with independently computed ones on one batch; see pellucid.verify.

    The images of `batch` are already standardized; samples: see `pellucid.verify.verify`.
    """
    objective = model.objective
    if not isinstance(objective, Supervised):
        return _verify_objective(model, objective, batch, samples)
    training = describe_training(
        model.optimizer, model.regularizers, model.clip, model.precision, model.frozen, model.rates, model.device
    )
    return verify(
        objective.net, model.params, batch.images, batch.targets, objective.loss,
        samples=samples, seed=model.seed, training=training,
    )  # fmt: skip


def _verify_objective(model: Learner, objective: Objective, batch: Batch, samples: int) -> GradientTable:
    """Verify an objective, and each of its networks with the inputs and output gradients that it receives."""
    objective_table = verify_objective(objective, model.params, batch, directions=max(1, samples // 4), seed=model.seed)
    if not objective_table.calls:
        raise PellucidError(
            f"verify: {type(objective).__name__}.gradients passes no gradient to a network on this batch"
        )
    tables: list[tuple[str, GradientTable]] = []
    for name, net in objective.nets.items():
        for call in (call for call in objective_table.calls if call.name == name):
            params = params_of(model.params, name)
            any_tensor = next(iter(tensors(call.x)))
            # The target is not used by this loss; it only has to be a tensor on the right device.
            table = verify(net, params, call.x, any_tensor, _Product(call.dy), samples=samples, seed=model.seed)
            tables.append((name, table))
    rows = [
        replace(row, path=f"{name}.{row.path}") for name, table in tables for row in table.rows if row.path != "loss"
    ]
    culprits = ((name, table.culprit) for name, table in tables if table.culprit is not None)
    culprit = next((f"{name}.{path}" if path else name for name, path in culprits), objective_table.culprit)
    table_by_name = dict(tables)
    notes = [
        f"not compared: {name}, which receives no gradient" for name in objective.nets if name not in table_by_name
    ]
    return GradientTable((*rows, *objective_table.rows), culprit, tuple(notes))


@dataclass(frozen=True)
class _Product(Loss):
    """The sum of outputs times constants dy, whose gradient is dy."""

    dy: Any

    def __call__(self, y: Any, target: Tensor) -> tuple[Tensor, Any]:
        """Return (value, dy)."""
        pairs = zip(tensors(y), cast(list[Tensor | None], tensors(self.dy)), strict=True)
        # the gradient of an unused output is None
        dys = [torch.zeros_like(output) if dy is None else dy.to(output) for output, dy in pairs]
        value = torch.stack([(output * dy).sum() for output, dy in zip(tensors(y), dys, strict=True)]).sum()
        return value, tuple(dys) if isinstance(y, tuple) else dys[0]

    def compute(self, y: Any, target: Tensor) -> tuple[Tensor, Any]:
        """Return (value, dy)."""
        return self(y, target)
