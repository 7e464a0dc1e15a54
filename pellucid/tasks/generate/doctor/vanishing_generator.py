"""Check for vanishing gradients in a generator."""

from math import hypot
from statistics import median_high

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding

MIN_EPOCHS = 3
MIN_NORM_RATIO = 1e-3  # median gradient norm in the last third of the epochs, divided by the largest of all epochs


def find(case: Case) -> list[Finding]:
    """Compare the norm of the generator's gradient in the last third of the epochs with its largest norm."""
    norms = epoch_norms(case)
    if len(norms) < MIN_EPOCHS:
        return []
    late_norm = median_high(norms[-max(len(norms) // 3, 1) :])
    if late_norm > MIN_NORM_RATIO * max(norms):
        return []
    evidence = {"gradient_norm": late_norm, "largest_gradient_norm": max(norms), "epochs": len(norms)}
    cause = "the discriminator's output hardly depends on the generated images any more, or the generator saturates"
    fix = (
        "lower the discriminator's learning rate, use LeakyReLU and no sigmoid in it, or train by wgan_gp, whose "
        "critic keeps a gradient"
    )
    return [Finding(NAME, "generator", evidence, cause, fix)]


def epoch_norms(case: Case) -> list[float]:
    """Return the gradient norm of the network `generator`, over all its layers, at the end of each epoch."""
    norm_by_epoch: dict[int, float] = {}
    for row in case.history.layers if case.history is not None else ():
        norm = row.get("grad_norm")
        if str(row.get("path", "")).startswith("generator.") and isinstance(norm, int | float):
            epoch = int(row["epoch"] or 0)
            norm_by_epoch[epoch] = hypot(norm_by_epoch.get(epoch, 0.0), norm)
    return [norm for _, norm in sorted(norm_by_epoch.items())]


NAME = "vanishing-generator"
CHECK = Check(NAME, find, finds_faults=True, explains=("collapsed-samples", "checkerboard"))
