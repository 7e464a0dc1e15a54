"""Units that output 0 for every example, and so learn nothing."""

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding
from pellucid.doctor.passes import Activity
from pellucid.layers import ReLU, ReLU6

# Of a layer's units. Trained ReLU networks have some anyway; 40 % is where practice calls a learning rate too high
# (Karpathy, notes of CS231n: "as much as 40% of your network can be dead if the learning rate is set too high").
SHARE = 0.4
TOP = 6.0  # of ReLU6, where no gradient passes either


def look(case: Case) -> list[Finding]:
    """Count the units of rectifying layers over a sample; others (leaky, ELU, GELU) pass a gradient below 0 too."""
    found: list[Finding] = []
    for seen in case.units_of((ReLU, ReLU6), 2):
        counts = case.beyond_chance(seen, _dead, SHARE)
        if counts is None:
            continue
        dead, chance = counts
        first = case.first_activity.get(seen.path)
        evidence = {
            "dead": dead,
            "units": seen.units,
            "share": dead / seen.units,
            "dead_before_the_first_step": 0 if first is None else _dead(first),
            "dead_with_newly_drawn_weights": chance,
            "examples": len(seen.y),
        }
        found.append(Finding(NAME, seen.path, evidence))
    return found


def _dead(seen: Activity) -> int:
    """Return how many units never leave one of the ends where the slope is 0."""
    below = (seen.y <= 0).all(2).all(0)
    stuck = below | (seen.y >= TOP).all(2).all(0) if isinstance(seen.layer, ReLU6) else below
    return int(stuck.sum())


NAME = "dead-units"
CHECK = Check(NAME, look)
