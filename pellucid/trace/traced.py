"""A model of any objective as one network with one loss, for tracing."""

from typing import Any

from pellucid.data.augment.standardise import scaled
from pellucid.objective import Supervised
from pellucid.task import Traced, task_of
from pellucid.training.examples import examples
from pellucid.training.model import BaseModel


def as_network(model: BaseModel, x: Any, target: Any) -> Traced:
    """Return a model as one network with one loss; raises PellucidError for data that do not fit it."""
    traced = None if isinstance(model.objective, Supervised) else task_of(model).traced(model, x, target)
    if traced is None:
        data = examples(x, target, classes=model.classes)
        model.fitting(data, "trace: x")
        traced = Traced(model.net, model.params, model.loss, scaled(data.x, model.stats), data.y)
    return traced
