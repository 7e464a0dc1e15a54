"""Units, or feature maps, that hardly vary and without which every answer stays the same."""

from typing import Any

import torch
from torch import Tensor

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding
from pellucid.doctor.measure.activity import Activity
from pellucid.doctor.measure.backward import rms
from pellucid.doctor.measure.learners import finals
from pellucid.doctor.measure.without import without
from pellucid.rules.kinds import ACTIVATIONS

LITTLE = 0.01  # deviation over that of the layer's liveliest unit: it carries 1 / 10,000 of the variance
MANY = 0.4  # of a layer's units, as for dead ones
LEAST = 4  # units of a layer that can be too many
CLOSE = 0.01  # how much the answers of a regression may change, over their own size


def look(case: Case) -> list[Finding]:
    """Look for units that say nearly the same always, and set them to their means, all of a layer at once.

    Only those count that are there beyond what weights drawn anew give, as for dead units.
    """
    found: list[Finding] = []
    x = case.inputs(case.watched)
    answers = finals(case.model, x)
    for path, seen in case.activity.items():
        if not isinstance(seen.layer, ACTIVATIONS) or path in answers or seen.units < LEAST or not seen.finite:
            continue
        spread = seen.std
        still = _still(seen)
        if not bool(spread.any()) or len(still) <= MANY * seen.units:
            continue
        chance = case.by_chance(path, lambda seen: len(_still(seen)))
        if len(still) - chance <= MANY * seen.units:
            continue
        changed = _changed(case, x, path, still, seen.mean[still])
        if changed is None or changed > 0:
            continue
        evidence = {
            "useless": len(still),
            "units": seen.units,
            "share": len(still) / seen.units,
            "useless_with_newly_drawn_weights": chance,
            "largest_deviation_of_these": float(spread[still].max()),
            "largest_deviation": float(spread.max()),
            "answers_changed_without_them": changed,
            "examples": len(x),
        }
        found.append(Finding(NAME, path, evidence))
    return found


def _still(seen: Activity) -> Tensor:
    """Return the places of the units that hardly vary, (K,)."""
    spread = seen.std
    return (spread <= LITTLE * spread.max()).nonzero()[:, 0]


def _changed(case: Case, x: Tensor, path: str, units: Tensor, value: Tensor) -> float | None:
    """Return the share of answers that become others without some units; None where they cannot be compared."""
    empty = torch.zeros(0, dtype=torch.long)
    was, now = (_answer(without(case.model, x, path, *some)) for some in ((empty, value[:0]), (units, value)))
    if was is None or now is None:
        return None
    if case.classifies and was.dim() == 2 and was.shape[1] > 1:
        return float((was.argmax(1) != now.argmax(1)).float().mean())
    far, size = rms(now - was), rms(was)
    return 0.0 if far <= CLOSE * size else far / max(size, torch.finfo(torch.float32).tiny)


def _answer(y: Any) -> Tensor | None:
    return y if isinstance(y, Tensor) else None


NAME = "useless-maps"
CHECK = Check(
    NAME,
    "Units or feature maps say the same for every example, and no answer needs them.",
    look,
)
