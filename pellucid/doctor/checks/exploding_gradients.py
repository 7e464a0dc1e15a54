"""Gradients or outputs that grow from layer to layer, or in single batches."""

from math import isfinite, prod

import torch
from torch import Tensor

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding, Remedy
from pellucid.doctor.passes import gradient_decay, rms, trainable_layers
from pellucid.doctor.rehearsal import RehearsalSettings, default_rate
from pellucid.doctor.remedies import DRAWN_AS_HE, rebuilt

# With suitable initial weights, the norm of the gradient (backward) and the size of the outputs (forward) stay constant
# from layer to layer (He et al. 2015, section 2.2), so both ratios should be about 1.
MAX_GRADIENT_RATIO = 100.0  # gradient norm of early layers divided by the gradient norm of late layers
MAX_OUTPUT_RATIO = 20.0  # RMS of the last layer's outputs divided by the RMS of the inputs
TRIAL_STEPS = 25  # at each of these factors of the learning rate
TRIAL_RATE_FACTOR, LOW_RATE_FACTORS = 1 / 100, (1e-4, 1e-6)
MAX_RISE = 10.0  # largest loss divided by the loss of the first step


def find(case: Case) -> list[Finding]:
    """Compare early with late layers before the first step, then run some steps at TRIAL_RATE_FACTOR times the rate."""
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
    if not case.trainable or not _has_burst(case.rehearsal.losses):
        return []
    slow_rehearsal = case.rehearse(RehearsalSettings(TRIAL_STEPS, TRIAL_RATE_FACTOR))
    if not _has_burst(slow_rehearsal.losses) or _lower_rate_works(case):
        return []
    evidence |= {
        "rate_factor": TRIAL_RATE_FACTOR,
        "steps": len(slow_rehearsal.losses),
        "largest_loss": max(slow_rehearsal.losses, default=0.0),
    }
    cause = "single batches give gradients so large that no learning rate helps"
    fix = "look for very large values in the data, and clip the norm of the gradient"
    clipping = Remedy("gradients clipped to norm 1", lambda case: rebuilt(case, clip=1.0), "clipped")
    return [Finding(NAME, "training", evidence, cause, fix, clipping)]


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


def _has_burst(losses: tuple[float, ...]) -> bool:
    """Return whether the loss rose above MAX_RISE times the first loss.

    NaN without such a rise is found by the check nan-origin.
    """
    return bool(losses) and max(losses) > MAX_RISE * max(losses[0], torch.finfo(torch.float32).eps)


def _lower_rate_works(case: Case) -> bool:
    """Return whether a lower learning rate is enough: the loss does not rise at rate 0, and falls at a lower rate."""
    optimizer = case.model.optimizer
    usual_factor = min(default_rate(optimizer) / optimizer.lr, 1.0) if optimizer.lr > 0 else 0.0
    factors = (0.0, *LOW_RATE_FACTORS, usual_factor)
    unchanged, *others = (case.rehearse(RehearsalSettings(TRIAL_STEPS, factor)) for factor in factors)
    return not _has_burst(unchanged.losses) and min(one.final_loss for one in others) < unchanged.final_loss


NAME = "exploding-gradients"
CHECK = Check(NAME, find)
