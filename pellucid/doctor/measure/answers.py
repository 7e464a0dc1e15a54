"""What a model says of examples, and how good that is."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.doctor.finding import UnansweredError
from pellucid.errors import PellucidError
from pellucid.train.examples import Examples
from pellucid.train.model import Model


@dataclass(frozen=True, eq=False)
class Answers:
    """y: what the model says of N examples, as its loss reads it (probabilities); loss: the mean; part: the examples.

    metrics: what the model measures of them, by name.
    """

    y: Tensor
    loss: float
    metrics: dict[str, Any]
    part: Examples

    @property
    def classes(self) -> Tensor:
        """The class that each answer is, (N,)."""
        return (self.y[:, 0] > 0.5).long() if self.y.shape[1] == 1 else self.y.argmax(1)

    @property
    def accuracy(self) -> float:
        """The share of right classes."""
        return (self.classes == self.part.y).float().mean().item()


def answers(model: Model, part: Examples) -> Answers:
    """Ask a model about examples that fit it, in evaluation mode; UnansweredError where it says NaN or infinity."""
    try:
        with torch.inference_mode():
            y = model.predict(part.x)
            found = model.evaluate(part.x, part.y)
    except PellucidError as error:
        raise UnansweredError(f"the model has no answers: {error}") from error
    return Answers(y, found["loss"], {name: found[name] for name in model.metrics}, part)
