"""What batch normalization puts out, before its own scale and shift."""

from torch import Tensor

from pellucid.combine.base import join
from pellucid.doctor.measure.activity import Activity
from pellucid.training.model import BaseModel
from pellucid.tree import flatten

AWAY = 1e-3  # a channel that is scaled by less tells nothing


def normed(model: BaseModel, seen: Activity) -> tuple[Tensor, Tensor]:
    """Return mean and deviation (K,) of the normalised values of each channel that is not scaled away."""
    values = flatten(model.params)
    weight, bias = values[join(seen.path, "weight")], values[join(seen.path, "bias")]
    used = weight.abs() > AWAY
    return ((seen.mean - bias) / weight)[used], (seen.std / weight.abs())[used]
