"""Whether a picture is unlike anything that a model was trained on, as predictions say it."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pellucid.train.model import Model


@dataclass(frozen=True)
class Novelty:
    """How far a picture is from the training data, and the distance above which it is unlike any of them."""

    distance: float
    threshold: float

    @property
    def unfamiliar(self) -> bool:
        """Whether the picture is unlike anything that the model was trained on."""
        return self.distance > self.threshold

    @property
    def text(self) -> str:
        """What people read; "" for a picture like the training data."""
        if not self.unfamiliar:
            return ""
        return f"unlike anything it was trained on (distance {self.distance:.3g}, threshold {self.threshold:.3g})"


def novelties(model: Model, x: Tensor) -> list[Novelty] | list[None]:
    """Return the novelty of each input (N, C, H, W); None for a model whose file does not hold what it takes."""
    distances = model.distance(x)
    if distances is None or model.familiarity is None:
        return [None] * len(x)
    return [Novelty(distance, model.familiarity.threshold) for distance in distances.tolist()]


def to_json(novelty: Novelty | None) -> dict[str, Any]:
    """Return the fields of a prediction as JSON shows them; null where the model does not know."""
    if novelty is None:
        return {"unfamiliar": None, "distance": None, "distance_threshold": None}
    return {
        "unfamiliar": novelty.unfamiliar,
        "distance": novelty.distance,
        "distance_threshold": novelty.threshold,
    }


def suffix(novelty: Novelty | None) -> str:
    """Return what a line for people ends in: nothing for what is familiar or not known."""
    return f"; {novelty.text}" if novelty is not None and novelty.unfamiliar else ""
