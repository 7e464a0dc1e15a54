"""Gradients that grow from layer to layer in the backward pass."""

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding
from pellucid.doctor.passes import gradient_decay

MAX_GRADIENT_RATIO = 100.0  # of early and late layers; suitable weights keep the norm constant (He et al. 2015, 2.2)


def find(case: Case) -> list[Finding]:
    """Compare the gradient norms of early and late layers before the first step."""
    decay = gradient_decay(case.initial, case.initial_gradients, case.initial_activity)
    if decay is None or decay.ratio <= MAX_GRADIENT_RATIO:
        return []
    evidence: Evidence = {
        "loss_before_the_first_step": case.initial_gradients.loss, "early_over_late_gradient": decay.ratio,
        "late_layer": decay.late_path,
    }  # fmt: skip
    return [Finding(NAME, decay.early_path, evidence)]


NAME = "exploding-gradients"
CHECK = Check(NAME, find)
