"""One optimizer step on copies of the weights."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.base.brief import screen_repr
from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import instance_by_name
from pellucid.base.text import aligned
from pellucid.layers import Conv2d, Dense
from pellucid.nested import flatten, nest
from pellucid.optim import OPTIMIZERS, Optimizer, clip_by_norm
from pellucid.optim.regularizers import in_order, max_norms
from pellucid.trace.record import TraceRecord
from pellucid.trace.text import brief, format_signed
from pellucid.training.parameter_groups import parameter_groups, penalize, update_groups
from pellucid.training.step import decayed_paths


@dataclass(frozen=True, eq=False)
class Stepped:
    """The weights after one step, by path, and the loss on the same batch with the same random numbers.

    before: the loss before the step, including the regularization term.
    after: the loss after the step, including the regularization term.
    changes: the update of each weight, by path.
    predicted: the linear prediction of the change of the loss, Σ gradient times change.
    """

    optimizer: Optimizer
    lr: float
    weights: dict[str, Tensor]
    changes: dict[str, Tensor]
    before: float
    after: float
    predicted: float
    __repr__ = screen_repr

    def __getitem__(self, path: str) -> Tensor:
        """Return a weight after the step."""
        if path not in self.weights:
            raise PellucidError(f"trace.step: no weight {path!r}; there are {', '.join(self.weights):.80}")
        return self.weights[path]

    def to_json(self) -> dict[str, Any]:
        """Return the losses, and the norm of each weight's change, as JSON values."""
        norms = {path: float(change.norm()) for path, change in self.changes.items()}
        values = {"before": self.before, "after": self.after, "predicted": self.predicted}
        return {"optimizer": repr(self.optimizer), "lr": self.lr, **values, "changes": norms}

    def __str__(self) -> str:
        """Return the losses, and a table with the norm of each weight's change."""
        rows = [("weight", "‖change‖", "‖weight‖", "ratio")]
        for path, change in self.changes.items():
            change_norm, size = float(change.norm()), float(self.weights[path].norm())
            rows.append((path, brief(change_norm, 3), brief(size, 3), brief(change_norm / size, 2) if size else "-"))
        rate_text = "" if self.lr == self.optimizer.lr else f" at learning rate {brief(self.lr)}"
        head = f"one step of {self.optimizer!r}{rate_text}: loss {brief(self.before)} → {brief(self.after)}"
        tail = f" ({format_signed(self.after - self.before, 3)}; linear prediction {format_signed(self.predicted, 3)})"
        return f"{head}{tail}\n\n{aligned(rows, right=(1, 2, 3))}"


def step(trace: TraceRecord, optimizer: str | Optimizer | None, lr: float | None) -> Stepped:
    """Update copies of the weights in the same way as the first training step; see Trace.step."""
    settings = trace.settings
    optimizer = settings.optimizer if optimizer is None else optimizer
    if optimizer is None:
        raise PellucidError("trace.step: the model has no optimizer; give one, such as SGD(0.1)")
    optimizer = instance_by_name(optimizer, Optimizer, OPTIMIZERS, "optimizer")
    learning_rate = optimizer.lr if lr is None else lr
    if not isinstance(learning_rate, int | float) or not 0 <= learning_rate < math.inf:
        raise PellucidError(f"trace.step: lr must be a finite number, 0 or more, not {learning_rate!s:.40}")
    flat = flatten(settings.params)
    paths = settings.learned
    weights = {path: flat[path].clone() for path in paths}
    zeros = {path: torch.zeros_like(weight, memory_format=torch.contiguous_format) for path, weight in weights.items()}
    grads = [zeros[path] + trace.gradients.get(path, 0) for path in paths]
    tensors = list(weights.values())
    total_grads = [grad + trace.penalties.get(path, 0) for path, grad in zip(paths, grads, strict=True)]
    groups = parameter_groups(paths, tensors, settings.decayed_paths, settings.rates)
    regularizers = in_order(settings.regularizers)
    penalize(groups, regularizers, grads, settings.examples)
    if settings.clip is not None and grads:
        clip_by_norm(grads, settings.clip)
    if grads:
        update_groups(groups, optimizer, regularizers, grads, optimizer.init(tensors), learning_rate)
    limited_paths = decayed_paths({"": settings.net}, (Dense, Conv2d))
    for limit in max_norms(settings.regularizers):
        limit.after_update([weights[path] for path in paths if path in limited_paths])
    changes = {path: weights[path] - flat[path] for path in paths}
    params = nest(settings.params, {**flat, **weights})
    after = sum(settings.cost(settings.run(params), params))
    predicted = sum(
        float((total_grad * changes[path]).sum()) for path, total_grad in zip(paths, total_grads, strict=True)
    )
    return Stepped(optimizer, learning_rate, weights, changes, trace.cost, after, predicted)
