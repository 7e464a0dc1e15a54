"""Units of a layer that begin alike and stay alike, so that the layer is one unit wide."""

import torch
from torch import Tensor

from pellucid.doctor.case import Case
from pellucid.doctor.changed import as_he, with_layers
from pellucid.doctor.finding import Check, Finding, Remedy
from pellucid.doctor.measure.learners import learners
from pellucid.tree import flatten

MANY = 0.5  # of a layer's units that have a twin: what is left is at most three quarters of the layer
# Distance of twins over the way that they have gone since: two that learn different things go different ways and are
# about as far from each other as from where they began (sqrt(2) times, if the ways have nothing in common).
APART = 0.5


def look(case: Case) -> list[Finding]:
    """Find units with the same first weights, and ask whether training tells them apart.

    Equal first weights alone do no harm: a last layer, or the last one of a residual branch, may begin at 0, because
    different gradients arrive at its units. So what counts is whether they are still alike after training, or after a
    few steps of it. The last layer's units are told apart by their targets.
    """
    twins = {path: _twins(flatten(case.first.params)[weight]) for path, weight in learners(case.first)[:-1]}
    twins = {path: pairs for path, pairs in twins.items() if len(pairs[0]) > 1 and _share(pairs) > MANY}
    if not twins:
        return []
    model = case.model if case.trained else case.rehearsal.model
    begun, now = flatten(case.first.params), flatten(model.params)
    found: list[Finding] = []
    for path, (owner, mine) in twins.items():
        old, new = begun[f"{path}.weight"].flatten(1), now[f"{path}.weight"].flatten(1)
        if not bool(torch.isfinite(new).all()):  # it broke; before that, what told them apart was the gradient
            old, new = torch.zeros_like(old), case.first_flow.gradients[f"{path}.weight"].flatten(1)
        way = (new - old).norm(dim=1)
        apart = (new - new[owner]).norm(dim=1)
        other = mine & (owner != torch.arange(len(owner)))  # those that have their twin before them
        alike = other & (apart <= APART * (way + way[owner]) / 2)
        if int(alike.sum()) < MANY * int(other.sum()):
            continue
        zero = not bool(old.any())
        evidence = {
            "units": len(owner),
            "units_with_a_twin": int(mine.sum()),
            "copies_of_an_earlier_unit": int(alike.sum()),
            "mean_distance_moved": float(way.mean()),
            "mean_distance_between_copies": float(apart[other].mean()),
        }
        what = "are 0" if zero else "are the same for each unit"
        cause = f"the first weights {what}, so every unit gets the same gradient and they stay copies of one another"
        fix = "draw the weights at random (he, xavier); biases may begin at 0"
        found.append(Finding(NAME, f"{path}.weight", evidence, cause, fix, Remedy("weights drawn as He 2015", _drawn)))
    return found


def _twins(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return for each unit the first one of the same weights (U,), and which units are like another one (U,)."""
    _, group, counts = torch.unique(weight.flatten(1), dim=0, return_inverse=True, return_counts=True)
    places = torch.arange(len(group))
    owner = torch.full((len(counts),), len(group)).scatter_reduce(0, group, places, "amin")
    return owner[group], counts[group] > 1


def _share(pairs: tuple[Tensor, Tensor]) -> float:
    return float(pairs[1].float().mean())


def _drawn(case: Case) -> Case:
    return with_layers(case, as_he)


NAME = "symmetric-init"
CHECK = Check(
    NAME,
    "Units of a layer begin with the same weights and stay the same, so that the layer is as good as one unit.",
    look,
    explains=(
        "duplicate-maps", "useless-maps", "dead-units", "vanishing-gradients", "collapsed-predictions", "underfitting",
    ),
    proven=True,
)  # fmt: skip
