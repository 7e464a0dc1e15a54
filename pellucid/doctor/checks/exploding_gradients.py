"""Gradients or outputs that grow from layer to layer."""

from math import isfinite, prod

from torch import Tensor

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding
from pellucid.doctor.passes import gradient_decay, rms, trainable_layers
from pellucid.doctor.remedies import DRAWN_AS_HE

# With suitable initial weights, the norm of the gradient (backward) and the size of the outputs (forward) stay constant
# from layer to layer (He et al. 2015, section 2.2), so both ratios should be about 1.
MAX_GRADIENT_RATIO = 100.0  # gradient norm of early layers divided by the gradient norm of late layers
MAX_OUTPUT_RATIO = 20.0  # RMS of the last layer's outputs divided by the RMS of the inputs


def find(case: Case) -> list[Finding]:
    """Compare early with late layers before the first step."""
    decay = gradient_decay(case.initial, case.initial_gradients, case.initial_activity)
    gains = _gains(case, case.inputs(case.probe))
    total_gain = prod(gains.values())
    evidence: Evidence = {"loss_before_the_first_step": case.initial_gradients.loss}
    if gains:
        evidence["outputs_over_inputs"] = total_gain
    if decay is not None:
        evidence |= {"early_over_late_gradient": decay.ratio, "early_layer": decay.early_path}
    if (gains and not total_gain < MAX_OUTPUT_RATIO) or (decay is not None and decay.ratio > MAX_GRADIENT_RATIO):
        path = max(gains, key=lambda path: gains[path]) if gains else trainable_layers(case.initial)[0][0]
        if gains:
            evidence["growth_in_this_layer"] = gains[path]
        cause = "the initial weights are so large that values grow from layer to layer"
        fix = "use He initialization (standard deviation sqrt(2 / inputs)), batch normalization, or gradient clipping"
        return [Finding(NAME, path, evidence, cause, fix, DRAWN_AS_HE)]
    return []


def _gains(case: Case, x: Tensor) -> dict[str, float]:
    """Return, by path, the RMS of each trainable layer's outputs divided by the RMS of its predecessor's outputs.

    For the first layer, the divisor is the RMS of x. Empty if a ratio is undefined, because an RMS is 0 or not finite.
    """
    input_rms, gains = rms(x), dict[str, float]()
    for path, _ in trainable_layers(case.initial):
        if path not in case.initial_activity:
            continue
        output_rms = rms(case.initial_activity[path].y)
        if not (input_rms > 0 and isfinite(output_rms)):
            return {}
        gains[path], input_rms = output_rms / input_rms, output_rms
    return gains


NAME = "exploding-gradients"
CHECK = Check(NAME, find)
