"""Units of a layer with equal initial weights that stay equal in training."""

import torch
from torch import Tensor

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding
from pellucid.doctor.passes import gradients, leaves, trainable_layers
from pellucid.doctor.remedies import DRAWN_AS_HE, HE_SETTINGS
from pellucid.layers import Conv2d, ConvTranspose2d, Layer
from pellucid.nested import flatten

# Fraction of a layer's units that have a twin, a unit with equal initial weights. At this fraction, at most three
# quarters of the units are distinct.
MIN_TWINS = 0.5
# Distance between twins divided by the distance that training moved them; for independent updates it is sqrt(2).
MAX_DISTANCE = 0.5


def find(case: Case) -> list[Finding]:
    """Find units with equal initial weights that training does not make different.

    Equal initial weights need not be a fault: an output layer, or the last layer of a residual branch, may be
    initialized to 0, because its units receive different gradients. So units are compared after the training or, if
    there was none, after a rehearsal. The output layer is skipped: the targets make its units different. Units that
    read other inputs, such as interpolation kernels for one map each, are no copies.
    """
    initial, layers = flatten(case.initial.params), dict(leaves(case.initial.net))
    twins_by_path = {
        path: _twins(*_units(layers[path], initial[weight])) for path, weight in trainable_layers(case.initial)[:-1]
    }
    twins_by_path = {path: twins for path, twins in twins_by_path.items() if float(twins[1].float().mean()) > MIN_TWINS}
    if not twins_by_path:
        return []
    current = flatten((case.model if case.trained else case.rehearsal.model).params)
    findings: list[Finding] = []
    for path, (first_unit, has_twin) in twins_by_path.items():
        old, new = (_units(layers[path], params[f"{path}.weight"])[0] for params in (initial, current))
        if not bool(torch.isfinite(new).all()):  # training diverged; compare the first gradients instead
            first_gradients = gradients(case.initial, case.inputs(case.probe), case.probe.y)
            new, _ = _units(layers[path], first_gradients[f"{path}.weight"])
            old = torch.zeros_like(old)
        distance_moved = (new - old).norm(dim=1)
        distance = (new - new[first_unit]).norm(dim=1)
        later_twins = has_twin & (first_unit != torch.arange(len(first_unit)))  # units with an earlier twin
        is_copy = later_twins & (distance <= MAX_DISTANCE * (distance_moved + distance_moved[first_unit]) / 2)
        if int(is_copy.sum()) < MIN_TWINS * int(later_twins.sum()):
            continue
        fault = "are the same for each unit" if bool(old.any()) else "are 0"
        findings.append(
            Finding(
                NAME,
                f"{path}.weight",
                evidence={
                    "units": len(first_unit),
                    "units_with_a_twin": int(has_twin.sum()),
                    "copies_of_an_earlier_unit": int(is_copy.sum()),
                    "mean_distance_moved": float(distance_moved.mean()),
                    "mean_distance_between_copies": float(distance[later_twins].mean()),
                },
                cause=f"the initial weights {fault}, so all units receive the same gradient and stay equal",
                fix="draw the weights at random (he, xavier); biases may be 0",
                remedy=DRAWN_AS_HE,
                settings=HE_SETTINGS,
            )
        )
    return findings


def _units(layer: Layer, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weights of each unit, (U, n), and the index of the group of inputs that it reads, (U,)."""
    groups = layer.groups if isinstance(layer, Conv2d | ConvTranspose2d) else 1
    if isinstance(layer, ConvTranspose2d):  # (C, F / groups, kH, kW)
        weight = weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)  # (F, C / groups, kH, kW)
    return weight.flatten(1), torch.arange(len(weight)) * groups // len(weight)


def _twins(weights: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Return for each unit the first unit of its group with equal weights, and whether it has a twin, (U,) each."""
    rows = torch.cat([weights, groups[:, None].to(weights)], 1)
    _, twin_set, counts = torch.unique(rows, dim=0, return_inverse=True, return_counts=True)
    first_unit = torch.full((len(counts),), len(weights)).scatter_reduce(
        0, twin_set, torch.arange(len(weights)), "amin"
    )
    return first_unit[twin_set], counts[twin_set] > 1


NAME = "symmetric-init"
CHECK = Check(
    NAME, find, finds_faults=True,
    explains=("underfitting",),
)  # fmt: skip
