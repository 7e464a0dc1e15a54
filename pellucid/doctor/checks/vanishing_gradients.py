"""Early layers that receive almost no gradient."""

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding, Remedy
from pellucid.doctor.passes import GradientDecay, gradient_decay, gradients
from pellucid.doctor.remedies import he_initialized, with_layers
from pellucid.layers import ReLU, Sigmoid, Tanh

# Suitable initial weights keep the gradient's norm constant (see `GradientDecay`); a layer of sigmoids divides it by at
# least 4. Nielsen (2015, chapter 5) calls a gradient vanishing if the first layer learns 100 times more slowly than the
# last.
MIN_RATIO = 1 / 100
RELU_AND_HE = Remedy("ReLU and He initialization", lambda case: with_layers(
    case, lambda layer: ReLU() if isinstance(layer, Sigmoid | Tanh) else he_initialized(layer)
), "relu-and-he")  # fmt: skip


def find(case: Case) -> list[Finding]:
    """Compare the gradient norms of early and late layers, for the present and for the initial weights.

    A last layer that is initialized to 0 blocks gradients only in the first step, which is harmless. So small gradients
    for the initial weights are a fault only if they are still small after a few steps.
    """
    initial_decay = gradient_decay(case.initial, case.initial_gradients, case.initial_activity)
    is_weak = initial_decay is not None and initial_decay.ratio < MIN_RATIO
    decay = gradient_decay(case.model, case.gradients, case.activity) if case.trained else None
    if decay is None or decay.ratio >= MIN_RATIO:
        rehearsed_decay = _decay_after_rehearsal(case) if is_weak and case.trainable else None
        if rehearsed_decay is None or rehearsed_decay.ratio >= MIN_RATIO:
            return []
        decay = decay or rehearsed_decay
    evidence = {
        "early_layer": decay.early_path,
        "late_layer": decay.late_path,
        "early_gradient": decay.early,
        "late_gradient": decay.late,
        "early_over_late_gradient": decay.ratio,
    }
    if initial_decay is not None:
        evidence["early_over_late_before_the_first_step"] = initial_decay.ratio
    if not is_weak:
        return [Finding(NAME, decay.early_path, evidence)]
    cause = "each layer makes the gradient smaller in the backward pass: saturated activations or small initial weights"
    fix = "use ReLU with He initialization, batch normalization, or fewer layers"
    return [Finding(NAME, decay.early_path, evidence, cause, fix, RELU_AND_HE)]


def _decay_after_rehearsal(case: Case) -> GradientDecay | None:
    rehearsal = case.rehearsal
    if rehearsal.has_failed:
        return None
    measured = gradients(rehearsal.model, case.inputs(case.probe), case.probe.y)
    return gradient_decay(rehearsal.model, measured, case.initial_activity)


NAME = "vanishing-gradients"
CHECK = Check(NAME, find)
