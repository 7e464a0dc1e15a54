"""Sigmoid and tanh units whose outputs are at the ends of their range, where the slope is nearly 0."""

from torch import Tensor

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding
from pellucid.doctor.passes import Activity, output_layers
from pellucid.layers import Sigmoid, Tanh

END = 0.05  # of the steepest slope: an output is at an end where its slope is less, |x| > 4.4 for sigmoid, 2.2 for tanh
# Of all outputs of a layer. First weights should keep units where they are nearly linear (LeCun et al. 1998, Efficient
# BackProp, 4.6): standard normal inputs to tanh put 3 % of outputs at an end, those of He's weights 12 %.
MAX_FIRST = 0.5
MAX_TRAINED = 0.8  # training may move half of the outputs to an end in a network that works
STUCK = 0.95  # of a unit's outputs at one and the same end: the unit carries nothing
MAX_STUCK = 0.4  # of a layer's units, as for dead ones


def look(case: Case) -> list[Finding]:
    """Measure the units of squashing layers over a sample; the network's outputs may be at their ends."""
    found: list[Finding] = []
    squashing = case.units_of((Sigmoid, Tanh), 2)
    outputs = output_layers(case.model, case.inputs(case.sample)) if squashing else set[str]()
    for seen in squashing:
        if seen.path in outputs:
            continue
        now, stuck = _share(seen), int(_stuck(seen).sum())
        then = case.first_activity.get(seen.path)
        first = 0.0 if then is None or not then.finite else _share(then)
        early = first > MAX_FIRST and now > MAX_FIRST
        if not (early or now > MAX_TRAINED or stuck / seen.units > MAX_STUCK):
            continue
        evidence = {
            "share_of_outputs_at_a_limit": now,
            "share_at_a_limit_before_the_first_step": first,
            "stuck_units": stuck,
            "units": seen.units,
            "mean_slope": float(_slope(seen).mean()),
            "examples": len(seen.y),
        }
        found.append(Finding(NAME, seen.path, evidence))
    return found


def _slope(seen: Activity) -> Tensor:
    """Return the slope at each output as a share of the steepest, (N, U, positions)."""
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
CHECK = Check(NAME, look)
