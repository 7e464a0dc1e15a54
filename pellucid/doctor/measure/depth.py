"""How much of the loss's gradient arrives at each layer that learns."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, sqrt

from pellucid.doctor.measure.activity import Activity
from pellucid.doctor.measure.backward import Flow
from pellucid.doctor.measure.learners import learners
from pellucid.training.model import BaseModel

FIRST = 4  # the early layers are the first fourth of those that learn, the late ones the last fourth


@dataclass(frozen=True)
class Depth:
    """Norms of the gradient by what layers put out, the largest among the early and among the late ones.

    He et al. 2015, section 2.2: weights drawn as they should be hand this norm on from layer to layer unchanged,
    whatever the layers' sizes are.
    """

    early_path: str
    early: float
    late_path: str
    late: float

    @property
    def share(self) -> float:
        """What arrives early of what is there late."""
        return self.early / self.late


def depth(model: BaseModel, flow: Flow, outputs: Mapping[str, Activity]) -> Depth | None:
    """Return the depth of a pass; None where fewer than two layers learn or the gradient is 0 or not finite.

    outputs: of the same network, for their sizes.
    """
    norms = [
        (path, flow.dy[path] * sqrt(outputs[path].size))
        for path, _ in learners(model)
        if path in flow.dy and path in outputs
    ]
    if len(norms) < 2 or not all(isfinite(norm) for _, norm in norms):
        return None
    few = max(len(norms) // FIRST, 1)
    early, late = max(norms[:few], key=_norm), max(norms[-few:], key=_norm)
    return Depth(*early, *late) if late[1] > 0 else None


def _norm(pair: tuple[str, float]) -> float:
    return pair[1]
