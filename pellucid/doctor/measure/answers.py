"""What a model says of examples, and how good that is."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pellucid.data.source import Arrays
from pellucid.doctor.finding import UnansweredError
from pellucid.errors import PellucidError
from pellucid.metrics import classes_of
from pellucid.objective import Supervised
from pellucid.training.evaluate import batch_within_memory, boundary, judge
from pellucid.training.model import BaseModel


@dataclass(frozen=True, eq=False)
class Answers:
    """y: what the model says of N examples, as its loss reads it: probabilities; loss: the mean.

    part: the examples, without those that the loss ignores. boundary: see `pellucid.training.evaluate.boundary`.
    """

    y: Tensor
    loss: float
    part: Arrays
    boundary: float = 0.5

    @property
    def classes(self) -> Tensor:
        """The class that each answer is, (N,)."""
        return classes_of(self.y, self.boundary)

    @property
    def accuracy(self) -> float:
        """The share of right classes."""
        return (self.classes == self.part.y).float().mean().item()


def answers(model: BaseModel, part: Arrays) -> Answers:
    """Ask a model about examples that fit it, in evaluation mode; UnansweredError where it says NaN or infinity."""
    try:
        with torch.inference_mode():
            size = batch_within_memory(model.objective, model.params, part.x, model.stats)
            loss, y = judge(model.objective, model.params, part, size, model.stats)
    except PellucidError as error:
        raise UnansweredError(f"the model has no answers: {error}") from error
    if not isinstance(model.objective, Supervised):
        return Answers(y, loss, part)
    kept = model.objective.loss.kept(part.y)
    if kept is not None:
        part = replace(part, x=part.x[kept], y=part.y[kept])
    return Answers(y, loss, part, boundary(model.objective.net, model.objective.loss))
