"""Units, or feature maps, that hardly vary and whose removal changes no prediction."""

import torch
from torch import Tensor

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding
from pellucid.doctor.passes import Activity, output_layers, rms, with_constant_units
from pellucid.layers.base import Layer, Trait

MAX_SPREAD = 0.01  # standard deviation of a unit divided by the largest of the layer: 1 / 10,000 of its variance
MAX_USELESS = 0.4  # of a layer's units, as in the check of dead units
MIN_UNITS = 4  # smaller layers are skipped
TOLERANCE = 0.01  # largest relative change of the outputs of a regression that counts as no change


def find(case: Case) -> list[Finding]:
    """Count units with nearly constant outputs, and check that replacing these by their means changes no prediction."""
    x = case.inputs(case.watched)
    output_paths = output_layers(case.model, x)

    def count_constant(outputs: Activity) -> int:
        is_inner = Trait.ACTIVATION in outputs.layer.traits and outputs.path not in output_paths
        return len(_constant_units(outputs)) if is_inner else 0

    findings: list[Finding] = []
    for outputs, n_useless, n_redrawn in case.faulty_layers((Layer,), MIN_UNITS, count_constant, MAX_USELESS):
        std, constant_units = outputs.std, _constant_units(outputs)
        if not bool(std.any()) or _changed_fraction(case, x, outputs, constant_units) != 0:
            continue
        evidence = {
            "useless": n_useless,
            "units": outputs.units,
            "share": n_useless / outputs.units,
            "useless_with_newly_drawn_weights": n_redrawn,
            "largest_deviation_of_these": float(std[constant_units].max()),
            "largest_deviation": float(std.max()),
            "answers_changed_without_them": 0.0,
            "examples": len(x),
        }
        findings.append(Finding(NAME, outputs.path, evidence))
    return findings


def _constant_units(outputs: Activity) -> Tensor:
    """Return the indices of the units that hardly vary, (K,)."""
    std = outputs.std
    return (std <= MAX_SPREAD * std.max()).nonzero()[:, 0]


def _changed_fraction(case: Case, x: Tensor, outputs: Activity, units: Tensor) -> float | None:
    """Return the fraction of predicted classes that change if `units` output their means.

    Without classes, return the relative change of the outputs, 0 up to TOLERANCE. None if the network has more than one
    output.
    """
    means = outputs.mean[units]
    y = with_constant_units(case.model, x, outputs.path, units[:0], means[:0])
    changed_y = with_constant_units(case.model, x, outputs.path, units, means)
    if not isinstance(y, Tensor) or not isinstance(changed_y, Tensor):
        return None
    if case.classifies and y.dim() == 2 and y.shape[1] > 1:
        return float((y.argmax(1) != changed_y.argmax(1)).float().mean())
    change, y_rms = rms(changed_y - y), rms(y)
    return 0.0 if change <= TOLERANCE * y_rms else change / max(y_rms, torch.finfo(torch.float32).tiny)


NAME = "useless-maps"
CHECK = Check(NAME, find)
