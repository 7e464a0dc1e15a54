"""Dead ReLU units: their output is 0 (or 6, for ReLU6) for every example, so they do not learn."""

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding
from pellucid.doctor.passes import Activity
from pellucid.layers import ReLU, ReLU6

# Fraction of a layer's units. Trained ReLU networks always have some dead units; 40 % of them indicate too high a
# learning rate (Karpathy, notes of CS231n: "as much as 40% of your network can be dead if the learning rate is set too
# high").
MAX_DEAD = 0.4
UPPER_LIMIT = 6.0  # of ReLU6; the gradient is 0 above it too


def find(case: Case) -> list[Finding]:
    """Count dead units of ReLU and ReLU6 layers over a sample.

    LeakyReLU, ELU and GELU units cannot die, because their gradient is not 0 for negative inputs.
    """
    findings: list[Finding] = []
    for outputs, n_dead, n_dead_redrawn in case.faulty_layers((ReLU, ReLU6), 2, _count_dead, MAX_DEAD):
        initial = case.initial_activity.get(outputs.path)
        evidence = {
            "dead": n_dead,
            "units": outputs.units,
            "share": n_dead / outputs.units,
            "dead_before_the_first_step": 0 if initial is None else _count_dead(initial),
            "dead_with_newly_drawn_weights": n_dead_redrawn,
            "examples": len(outputs.y),
        }
        findings.append(Finding(NAME, outputs.path, evidence))
    return findings


def _count_dead(outputs: Activity) -> int:
    """Return the number of units that output the same limit, where the slope is 0, for all examples and positions."""
    is_zero = (outputs.y <= 0).all(2).all(0)
    is_dead = is_zero | (outputs.y >= UPPER_LIMIT).all(2).all(0) if isinstance(outputs.layer, ReLU6) else is_zero
    return int(is_dead.sum())


NAME = "dead-units"
CHECK = Check(NAME, find)
