"""A model of any objective as one network with one loss, for tracing, and default targets for classifiers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.data.augment.standardise import scaled
from pellucid.metrics import class_scores
from pellucid.objective import Supervised
from pellucid.task import Traced, task_of
from pellucid.training.examples import as_inputs, examples

if TYPE_CHECKING:
    from pellucid.training.model import BaseModel

MIN_INFORMATIVE_LOSS = 1e-3  # loss below which all derivatives are almost 0


def as_network(model: BaseModel, x: Any, target: Any) -> Traced:
    """Return a model as one network with one loss; raises PellucidError for data that do not fit it."""
    traced = None if isinstance(model.objective, Supervised) else task_of(model).traced(model, x, target)
    if traced is None:
        data = examples(x, target, classes=model.classes, dtype=model.dtype)
        model.fitting(data, "trace: x")
        traced = Traced(model.net, model.params, model.loss, scaled(data.x, model.stats, model.dtype), data.y)
    return traced


def default_target(model: BaseModel, x: Any) -> tuple[Tensor, str]:
    """Return a class (N,) for each input of a classifier, and how it was chosen; other models raise PellucidError."""
    inputs = as_inputs(x, dtype=model.dtype)
    scores = model.predict(inputs) if model.classes or "accuracy" in model.loss.metrics else inputs[:0]
    if scores.dim() != 2 or not len(scores):
        raise PellucidError("trace: give the targets of the loss; only a classifier has default ones")
    return default_classes(model, inputs, model.classes or tuple(map(str, range(max(2, scores.shape[1])))))


def default_classes(model: BaseModel, x: Tensor, classes: Sequence[str]) -> tuple[Tensor, str]:
    """Return a class (N,) for each input of a classifier, and in words how it was chosen.

    It is the predicted class, or the class with the second highest score if the loss is below MIN_INFORMATIVE_LOSS,
    since all derivatives of such a loss are almost 0.
    """
    predicted, second = class_scores(model.predict(x)).topk(2).indices.unbind(1)
    losses = torch.tensor([float(model.evaluate(x[k : k + 1], predicted[k : k + 1])["loss"]) for k in range(len(x))])
    has_low_loss = (losses >= 0) & (losses < MIN_INFORMATIVE_LOSS)
    targets = torch.where(has_low_loss, second, predicted)
    if not has_low_loss.any():
        return targets, "predicted"
    if len(x) > 1:
        return targets, f"predicted, or the second where the loss is below {MIN_INFORMATIVE_LOSS:g}"
    name = classes[int(predicted)]
    loss = float(losses)
    return targets, f"the second, since the loss of the predicted class, {name}, is only {loss:.1e}"
