"""Units, or feature maps, that hardly vary and without which every output stays the same."""

import torch
from torch import Tensor

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding
from pellucid.doctor.passes import Activity, output_layers, rms, with_constant_units
from pellucid.layers.base import Layer, Trait

LITTLE = 0.01  # standard deviation over that of the layer's liveliest unit: it carries 1 / 10,000 of the variance
SHARE = 0.4  # of a layer's units, as for dead ones
MIN_UNITS = 4  # of a layer that can have too many
CLOSE = 0.01  # how much the outputs of a regression may change, over their own size


def look(case: Case) -> list[Finding]:
    """Count the units that output nearly the same always, and set them to their means, all of a layer at once."""
    found: list[Finding] = []
    x = case.inputs(case.watched)
    outputs = output_layers(case.model, x)
    for seen in case.units_of((Layer,), MIN_UNITS):
        spread, still = seen.std, _still(seen)
        if Trait.ACTIVATION not in seen.layer.traits or seen.path in outputs or not bool(spread.any()):
            continue
        counts = case.beyond_chance(seen, lambda seen: len(_still(seen)), SHARE)
        if counts is None or _changed(case, x, seen, still) != 0:
            continue
        evidence = {
            "useless": counts[0],
            "units": seen.units,
            "share": counts[0] / seen.units,
            "useless_with_newly_drawn_weights": counts[1],
            "largest_deviation_of_these": float(spread[still].max()),
            "largest_deviation": float(spread.max()),
            "answers_changed_without_them": 0.0,
            "examples": len(x),
        }
        found.append(Finding(NAME, seen.path, evidence))
    return found


def _still(seen: Activity) -> Tensor:
    """Return the indices of the units that hardly vary, (K,)."""
    spread = seen.std
    return (spread <= LITTLE * spread.max()).nonzero()[:, 0]


def _changed(case: Case, x: Tensor, seen: Activity, units: Tensor) -> float | None:
    """Return the share of outputs that change without some units; None where they cannot be compared."""
    value = seen.mean[units]
    was = with_constant_units(case.model, x, seen.path, units[:0], value[:0])
    now = with_constant_units(case.model, x, seen.path, units, value)
    if not isinstance(was, Tensor) or not isinstance(now, Tensor):
        return None
    if case.classifies and was.dim() == 2 and was.shape[1] > 1:
        return float((was.argmax(1) != now.argmax(1)).float().mean())
    far, size = rms(now - was), rms(was)
    return 0.0 if far <= CLOSE * size else far / max(size, torch.finfo(torch.float32).tiny)


NAME = "useless-maps"
CHECK = Check(NAME, look)
