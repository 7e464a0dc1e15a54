"""Units, or feature maps, that hardly vary, and whose removal changes no output."""

import torch
from torch import Tensor

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding
from pellucid.doctor.passes import Activity, output_layers, rms, with_constant_units
from pellucid.layers.base import Layer, Trait

MAX_SPREAD = 0.01  # standard deviation over the layer's largest: 1 / 10,000 of its variance
SHARE = 0.4  # of a layer's units, as in the check of dead units
MIN_UNITS = 4  # smaller layers are skipped
TOLERANCE = 0.01  # relative change of the outputs of a regression that counts as none


def look(case: Case) -> list[Finding]:
    """Count a layer's units with nearly constant outputs, and replace them all by their means at once."""
    found: list[Finding] = []
    x = case.inputs(case.watched)
    outputs = output_layers(case.model, x)
    for seen in case.units_of((Layer,), MIN_UNITS):
        spread, constant = seen.std, _constant_units(seen)
        if Trait.ACTIVATION not in seen.layer.traits or seen.path in outputs or not bool(spread.any()):
            continue
        counts = case.beyond_chance(seen, lambda seen: len(_constant_units(seen)), SHARE)
        if counts is None or _changed(case, x, seen, constant) != 0:
            continue
        evidence = {
            "useless": counts[0],
            "units": seen.units,
            "share": counts[0] / seen.units,
            "useless_with_newly_drawn_weights": counts[1],
            "largest_deviation_of_these": float(spread[constant].max()),
            "largest_deviation": float(spread.max()),
            "answers_changed_without_them": 0.0,
            "examples": len(x),
        }
        found.append(Finding(NAME, seen.path, evidence))
    return found


def _constant_units(seen: Activity) -> Tensor:
    """Return the indices of the units that hardly vary, (K,)."""
    spread = seen.std
    return (spread <= MAX_SPREAD * spread.max()).nonzero()[:, 0]


def _changed(case: Case, x: Tensor, seen: Activity, units: Tensor) -> float | None:
    """Return the share of predicted classes that change when these units are set to their means.

    For a regression, the relative change of the outputs. None where the outputs cannot be compared."""
    value = seen.mean[units]
    was = with_constant_units(case.model, x, seen.path, units[:0], value[:0])
    now = with_constant_units(case.model, x, seen.path, units, value)
    if not isinstance(was, Tensor) or not isinstance(now, Tensor):
        return None
    if case.classifies and was.dim() == 2 and was.shape[1] > 1:
        return float((was.argmax(1) != now.argmax(1)).float().mean())
    far, size = rms(now - was), rms(was)
    return 0.0 if far <= TOLERANCE * size else far / max(size, torch.finfo(torch.float32).tiny)


NAME = "useless-maps"
CHECK = Check(NAME, look)
