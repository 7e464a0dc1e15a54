"""What a model says of examples, and how good that is."""

from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor

from pellucid.data.augment.standardise import scaled
from pellucid.doctor.finding import UnansweredError
from pellucid.doctor.measure.room import room
from pellucid.errors import PellucidError
from pellucid.train.diagnose import diagnose_output
from pellucid.train.evaluate import classes_of, outputs
from pellucid.train.examples import Examples
from pellucid.train.model import BATCH, Model


@dataclass(frozen=True, eq=False)
class Answers:
    """y: what the model says of N examples, as its loss reads it: probabilities; loss: the mean; part: the examples."""

    y: Tensor
    loss: float
    part: Examples

    @property
    def classes(self) -> Tensor:
        """The class that each answer is, (N,)."""
        return classes_of(self.y)

    @property
    def accuracy(self) -> float:
        """The share of right classes."""
        return (self.classes == self.part.y).float().mean().item()


def answers(model: Model, part: Examples) -> Answers:
    """Ask a model about examples that fit it, in evaluation mode; UnansweredError where it says NaN or infinity."""
    said: list[Tensor] = []
    total, counted = 0.0, 0.0
    try:
        with torch.inference_mode():
            size = min(BATCH, room(model, scaled(part.x[:1], model.stats)))
            batches = outputs(model.net, model.params, part.x, size, model.stats)
            for (x, y), target in zip(batches, part.y.split(size), strict=True):
                value = model.loss(model.loss.judged(y), target)[0].item()
                if not isfinite(value):
                    fault = diagnose_output(model.net, model.params, x) or "the loss is not finite"
                    raise UnansweredError(f"the model has no answers: {fault}")
                count = model.loss.counted(target)
                total, counted = total + value * count, counted + count
                said.append(model.loss.predict(y))
            return Answers(torch.cat(said), total / counted if counted else 0.0, part)
    except UnansweredError:
        raise
    except PellucidError as error:
        raise UnansweredError(f"the model has no answers: {error}") from error
