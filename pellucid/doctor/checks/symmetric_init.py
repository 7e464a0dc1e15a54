"""Units of a layer with equal initial weights that stay equal in training."""

import torch
from torch import Tensor

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding
from pellucid.doctor.passes import trainable_layers
from pellucid.doctor.remedies import DRAWN_AS_HE
from pellucid.tree import flatten

MIN_TWINS = 0.5  # fraction of a layer's units with a twin; then at most three quarters of the units are distinct
# Distance between twins over the distance that training moved them. For independent updates it is sqrt(2).
MAX_DISTANCE = 0.5


def look(case: Case) -> list[Finding]:
    """Find units with equal initial weights that training does not make different.

    Equal initial weights alone are harmless: an output layer, or the last layer of a residual branch, may be
    initialized to 0, because its units receive different gradients. So units are compared after training, or after a
    few steps of it. The output layer is skipped: its targets make its units different.
    """
    begun = flatten(case.first.params)
    twins = {path: _twins(begun[weight]) for path, weight in trainable_layers(case.first)[:-1]}
    twins = {path: (owner, mine) for path, (owner, mine) in twins.items() if float(mine.float().mean()) > MIN_TWINS}
    if not twins:
        return []
    now = flatten((case.model if case.trained else case.rehearsal.model).params)
    found: list[Finding] = []
    for path, (owner, mine) in twins.items():
        old, new = begun[f"{path}.weight"].flatten(1), now[f"{path}.weight"].flatten(1)
        if not bool(torch.isfinite(new).all()):  # training diverged; compare the first gradients instead
            old, new = torch.zeros_like(old), case.first_gradients.weights[f"{path}.weight"].flatten(1)
        moved = (new - old).norm(dim=1)
        distance = (new - new[owner]).norm(dim=1)
        other = mine & (owner != torch.arange(len(owner)))  # units with an earlier twin
        alike = other & (distance <= MAX_DISTANCE * (moved + moved[owner]) / 2)
        if int(alike.sum()) < MIN_TWINS * int(other.sum()):
            continue
        evidence = {
            "units": len(owner),
            "units_with_a_twin": int(mine.sum()),
            "copies_of_an_earlier_unit": int(alike.sum()),
            "mean_distance_moved": float(moved.mean()),
            "mean_distance_between_copies": float(distance[other].mean()),
        }
        fault = "are the same for each unit" if bool(old.any()) else "are 0"
        cause = f"the initial weights {fault}, so all units receive the same gradient and stay equal"
        fix = "draw the weights at random (he, xavier); biases may be 0"
        found.append(Finding(NAME, f"{path}.weight", evidence, cause, fix, DRAWN_AS_HE))
    return found


def _twins(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return for each unit the index of the first unit with equal weights (U,), and whether it has a twin (U,)."""
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
