"""Sigmoid and tanh units with outputs near a limit of their range, where the slope is nearly 0."""

from torch import Tensor

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding
from pellucid.doctor.passes import Activity, output_layers
from pellucid.layers import Sigmoid, Tanh

# Slope relative to the largest slope; below it, an output is at a limit: for inputs |x| > 4.4 of sigmoid, 2.2 of tanh.
MIN_SLOPE = 0.05
# Fraction of a layer's outputs at a limit. Initial weights should keep units in their linear range (LeCun et al. 1998,
# Efficient BackProp, 4.6): with standard normal inputs to tanh, 3 % of outputs are at a limit; with He weights, 12 %.
MAX_INITIAL = 0.5
MAX_TRAINED = 0.8  # in a working network, training may move half of the outputs to a limit


def find(case: Case) -> list[Finding]:
    """Count outputs at a limit in sigmoid and tanh layers over a sample; the network's output layers are skipped."""
    findings: list[Finding] = []
    activities = case.units_of((Sigmoid, Tanh), 2)
    output_paths = output_layers(case.model, case.inputs(case.sample)) if activities else set[str]()
    for outputs in activities:
        if outputs.path in output_paths:
            continue
        fraction = _fraction_at_limit(outputs)
        initial_outputs = case.initial_activity.get(outputs.path)
        initial_fraction = (
            0.0 if initial_outputs is None or not initial_outputs.finite else _fraction_at_limit(initial_outputs)
        )
        is_early = initial_fraction > MAX_INITIAL and fraction > MAX_INITIAL
        if not (is_early or fraction > MAX_TRAINED):
            continue
        evidence = {
            "share_of_outputs_at_a_limit": fraction,
            "share_at_a_limit_before_the_first_step": initial_fraction,
            "units": outputs.units,
            "mean_slope": float(_slope(outputs).mean()),
            "examples": len(outputs.y),
        }
        findings.append(Finding(NAME, outputs.path, evidence))
    return findings


def _slope(outputs: Activity) -> Tensor:
    """Return the slope at each output divided by the largest slope, (N, U, positions)."""
    return 4 * outputs.y * (1 - outputs.y) if isinstance(outputs.layer, Sigmoid) else 1 - outputs.y.square()


def _fraction_at_limit(outputs: Activity) -> float:
    """Return the fraction of outputs at a limit."""
    return float((_slope(outputs) < MIN_SLOPE).float().mean())


NAME = "saturated-units"
CHECK = Check(NAME, find)
