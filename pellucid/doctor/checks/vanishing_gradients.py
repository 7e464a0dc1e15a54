"""Early layers that receive almost no gradient."""

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding, Remedy
from pellucid.doctor.passes import GradientDecay, gradient_decay, gradients
from pellucid.doctor.remedies import as_he, with_layers
from pellucid.layers import ReLU, Sigmoid, Tanh
from pellucid.layers.base import Layer

# Suitable initial weights keep the gradient's norm constant (see `GradientDecay`); a layer of sigmoids divides it by at
# least 4.
# Nielsen 2015, chapter 5, calls it vanishing when the first layer learns 100 times more slowly than the last.
MIN_RATIO = 1 / 100


def look(case: Case) -> list[Finding]:
    """Compare the gradient norms of early and late layers, for the present and for the initial weights.

    A last layer that is initialized to 0 blocks gradients in the first step only, which is harmless. So small gradients
    for the initial weights count only if they are still small after a few steps.
    """
    first = gradient_decay(case.first, case.first_gradients, case.first_activity)
    weak = first is not None and first.ratio < MIN_RATIO
    now = gradient_decay(case.model, case.gradients, case.activity) if case.trained else None
    if now is None or now.ratio >= MIN_RATIO:
        early = _rehearsed(case) if weak and case.trainable else None
        if early is None or early.ratio >= MIN_RATIO:
            return []
        now = now or early
    evidence = {
        "early_layer": now.early_path,
        "late_layer": now.late_path,
        "early_gradient": now.early,
        "late_gradient": now.late,
        "early_over_late_gradient": now.ratio,
    }
    if first is not None:
        evidence["early_over_late_before_the_first_step"] = first.ratio
    if not weak:
        return [Finding(NAME, now.early_path, evidence)]
    cause = "each layer makes the gradient smaller in the backward pass: saturated activations or small initial weights"
    fix = "use ReLU with He initialization, batch normalization, or fewer layers"
    return [Finding(NAME, now.early_path, evidence, cause, fix, Remedy("ReLU and He initialization", _relu))]


def _rehearsed(case: Case) -> GradientDecay | None:
    done = case.rehearsal
    if done.broke:
        return None
    found = gradients(done.model, case.inputs(case.probe), case.probe.y)
    return gradient_decay(done.model, found, case.first_activity)


def _relu(case: Case) -> Case:
    def change(layer: Layer) -> Layer:
        return ReLU() if isinstance(layer, Sigmoid | Tanh) else as_he(layer)

    return with_layers(case, change)


NAME = "vanishing-gradients"
CHECK = Check(NAME, look)
