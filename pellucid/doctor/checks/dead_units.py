"""Units that put out 0 for every example, and so learn nothing."""

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding
from pellucid.doctor.measure.activity import Activity
from pellucid.layers import ReLU, ReLU6

# Of a layer's units. Trained ReLU networks have some anyway; 40 % is where practice calls a learning rate too high
# (Karpathy, notes of CS231n: "as much as 40% of your network can be dead if the learning rate is set too high").
MANY = 0.4
TOP = 6.0  # of ReLU6, where no gradient passes either


def look(case: Case) -> list[Finding]:
    """Look at the units of rectifying layers over a sample; others (leaky, ELU, GELU) pass a gradient below 0 too.

    Where there are few examples, or they look alike to a layer, half of the units of random weights are dead: so only
    those count that are dead beyond what weights drawn anew give.
    """
    found: list[Finding] = []
    for path, seen in case.activity.items():
        if not isinstance(seen.layer, ReLU | ReLU6) or seen.units < 2 or not seen.finite:
            continue
        dead = _dead(seen)
        chance = case.by_chance(path, _dead) if dead > MANY * seen.units else 0
        if dead - chance <= MANY * seen.units:
            continue
        then = case.first_activity.get(path)
        early = 0 if then is None else _dead(then)
        evidence = {
            "dead": dead,
            "units": seen.units,
            "share": dead / seen.units,
            "dead_before_the_first_step": early,
            "dead_with_newly_drawn_weights": chance,
            "examples": len(seen.y),
        }
        found.append(Finding(NAME, path, evidence))
    return found


def _dead(seen: Activity) -> int:
    """Return how many units never leave one of the places where the slope is 0."""
    below = (seen.y <= 0).all(2).all(0)
    stuck = below | (seen.y >= TOP).all(2).all(0) if isinstance(seen.layer, ReLU6) else below
    return int(stuck.sum())


NAME = "dead-units"
CHECK = Check(
    NAME,
    "Units put out 0 for every example, so no gradient reaches their weights.",
    look,
)
