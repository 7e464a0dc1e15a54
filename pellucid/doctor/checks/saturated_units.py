"""Sigmoid and tanh units whose outputs are pinned at their ends, where the slope is nearly 0."""

from torch import Tensor

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding
from pellucid.doctor.measure.activity import Activity
from pellucid.doctor.measure.learners import finals
from pellucid.layers import Sigmoid, Tanh

END = 0.05  # of the steepest slope: an output is at an end where its slope is less, |x| > 4.4 for sigmoid, 2.2 for tanh
# Of all outputs of a layer. First weights should keep units where they are nearly linear (LeCun et al. 1998, Efficient
# BackProp, 4.6): standard normal inputs to tanh put 3 % of outputs at an end, those of He's weights 12 %.
MANY_FIRST = 0.5
MANY = 0.8  # after training, which may move half of the outputs to an end in a network that works
STUCK = 0.95  # of a unit's outputs at one and the same end: the unit says nothing
MANY_STUCK = 0.4  # of a layer's units, as for dead ones


def look(case: Case) -> list[Finding]:
    """Look at the units of squashing layers over a sample; what the network answers with may be at its ends."""
    found: list[Finding] = []
    squashing = {path: seen for path, seen in case.activity.items() if isinstance(seen.layer, Sigmoid | Tanh)}
    if not squashing:
        return found
    answers = finals(case.model, case.inputs(case.sample))
    for path, seen in squashing.items():
        if path in answers or seen.units < 2 or not seen.finite:
            continue
        now, stuck = _share(seen), int(_stuck(seen).sum())
        then = case.first_activity.get(path)
        first = 0.0 if then is None or not then.finite else _share(then)
        early = first > MANY_FIRST and now > MANY_FIRST
        if not (early or now > MANY or stuck / seen.units > MANY_STUCK):
            continue
        evidence = {
            "share_of_outputs_at_a_limit": now,
            "share_at_a_limit_before_the_first_step": first,
            "stuck_units": stuck,
            "units": seen.units,
            "mean_slope": float(_slope(seen).mean()),
            "examples": len(seen.y),
        }
        found.append(Finding(NAME, path, evidence))
    return found


def _slope(seen: Activity) -> Tensor:
    """Return the slope at each output as a share of the steepest, (N, U, places)."""
    return 4 * seen.y * (1 - seen.y) if isinstance(seen.layer, Sigmoid) else 1 - seen.y.square()


def _share(seen: Activity) -> float:
    """Return the share of outputs at an end."""
    return float((_slope(seen) < END).float().mean())


def _stuck(seen: Activity) -> Tensor:
    """Return which units are nearly always at one and the same end, (U,)."""
    flat, middle = _slope(seen) < END, 0.5 if isinstance(seen.layer, Sigmoid) else 0.0
    high = (flat & (seen.y > middle)).float().mean((0, 2))
    low = (flat & (seen.y < middle)).float().mean((0, 2))
    return (high > STUCK) | (low > STUCK)


NAME = "saturated-units"
CHECK = Check(
    NAME,
    "Sigmoid or tanh units are pinned at the ends of their range, where almost no gradient passes.",
    look,
)
