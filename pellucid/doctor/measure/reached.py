"""How low a loss a model has come."""

from pellucid.data.source import Arrays
from pellucid.doctor.finding import UnansweredError
from pellucid.doctor.measure.answers import answers
from pellucid.training.model import BaseModel


def loss_on(model: BaseModel, part: Arrays) -> float:
    """Return the mean loss in evaluation mode, infinite where the model's outputs are not finite."""
    try:
        return answers(model, part).loss
    except UnansweredError:
        return float("inf")
