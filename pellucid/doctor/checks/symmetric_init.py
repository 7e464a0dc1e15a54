"""Units of a layer that begin alike and stay alike, so that the layer is one unit wide."""

import torch
from torch import Tensor

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding
from pellucid.doctor.passes import trainable_layers
from pellucid.doctor.remedies import DRAWN_AS_HE
from pellucid.tree import flatten

SHARE = 0.5  # of a layer's units that have a twin: what is left is at most three quarters of the layer
# Distance of twins over the way that they have gone since: two that learn different things go different ways and are
# about as far from each other as from where they began (sqrt(2) times, if the ways have nothing in common).
APART = 0.5


def look(case: Case) -> list[Finding]:
    """Find units with the same first weights that training does not make different.

    Equal first weights alone do no harm: a last layer, or the last one of a residual branch, may begin at 0, because
    its units receive different gradients. So what counts is whether they are still alike after training, or after a
    few steps of it. The last layer's units become different by their targets.
    """
    begun = flatten(case.first.params)
    twins = {path: _twins(begun[weight]) for path, weight in trainable_layers(case.first)[:-1]}
    twins = {path: (owner, mine) for path, (owner, mine) in twins.items() if float(mine.float().mean()) > SHARE}
    if not twins:
        return []
    now = flatten((case.model if case.trained else case.rehearsal.model).params)
    found: list[Finding] = []
    for path, (owner, mine) in twins.items():
        old, new = begun[f"{path}.weight"].flatten(1), now[f"{path}.weight"].flatten(1)
        if not bool(torch.isfinite(new).all()):  # it broke; before that, the gradient could make them different
            old, new = torch.zeros_like(old), case.first_gradients.weights[f"{path}.weight"].flatten(1)
        way = (new - old).norm(dim=1)
        apart = (new - new[owner]).norm(dim=1)
        other = mine & (owner != torch.arange(len(owner)))  # those that have their twin before them
        alike = other & (apart <= APART * (way + way[owner]) / 2)
        if int(alike.sum()) < SHARE * int(other.sum()):
            continue
        evidence = {
            "units": len(owner),
            "units_with_a_twin": int(mine.sum()),
            "copies_of_an_earlier_unit": int(alike.sum()),
            "mean_distance_moved": float(way.mean()),
            "mean_distance_between_copies": float(apart[other].mean()),
        }
        what = "are the same for each unit" if bool(old.any()) else "are 0"
        cause = f"the first weights {what}, so every unit gets the same gradient and they stay copies of one another"
        fix = "draw the weights at random (he, xavier); biases may begin at 0"
        found.append(Finding(NAME, f"{path}.weight", evidence, cause, fix, DRAWN_AS_HE))
    return found


def _twins(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return for each unit the first one of the same weights (U,), and which units are like another one (U,)."""
    _, group, counts = torch.unique(weight.flatten(1), dim=0, return_inverse=True, return_counts=True)
    indices = torch.arange(len(group))
    owner = torch.full((len(counts),), len(group)).scatter_reduce(0, group, indices, "amin")
    return owner[group], counts[group] > 1


NAME = "symmetric-init"
CHECK = Check(
    NAME, look, proven=True,
    explains=("duplicate-maps", "useless-maps", "dead-units", "vanishing-gradients", "collapsed-predictions",
              "underfitting"),
)  # fmt: skip
