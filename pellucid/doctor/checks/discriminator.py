"""A discriminator that is nearly perfect, so the generator receives no useful gradient."""

from collections.abc import Sequence
from math import log
from statistics import median_high

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding
from pellucid.doctor.predictions import UnansweredError

MIN_EPOCHS = 3  # in the last third of the history
# Mean probability of the correct class (real or generated). If it is nearly 1, gradients vanish (Arjovsky and Bottou
# 2017).
MIN_PROBABILITY = 0.95
MAX_DISCRIMINATOR_LOSS = -2 * log(MIN_PROBABILITY)  # sum of the losses on real and on generated images
MIN_GENERATOR_LOSS = -log(1 - MIN_PROBABILITY)  # the generator's loss if the discriminator detects its images
# The generator's loss in the last third of the epochs divided by its loss in the third before; below this ratio, the
# generator is still learning.
MIN_LOSS_RATIO = 0.75
LOSS_COLUMNS = ("train_discriminator_loss", "train_generator_loss")


def find(case: Case) -> list[Finding]:
    """Examine the losses of a generator and its discriminator over the epochs."""
    loss = getattr(case.model.objective, "loss", "")  # the name of a GAN's loss
    if isinstance(loss, str) and loss not in ("", "non_saturating"):
        raise UnansweredError(f"needs the loss 'non_saturating', not the loss {loss!r}")
    evidence = dominance_evidence(*(case.column(name) for name in LOSS_COLUMNS))
    if evidence is None:
        return []
    cause = "the discriminator separates real from generated with certainty, so its gradient carries no information"
    fix = "lower its learning rate, update it less often, smooth its labels or add noise to its inputs"
    return [Finding(NAME, "training", evidence, cause, fix)]


def dominance_evidence(discriminator_losses: Sequence[float], generator_losses: Sequence[float]) -> Evidence | None:
    """Return the evidence that the discriminator dominates the generator, or None.

    discriminator_losses: by epoch, each the sum of the losses on real and on generated images. generator_losses: by
    epoch. The discriminator dominates if the median of its loss over the last third of the epochs is near 0, and the
    median of the generator's loss is high and not much lower than in the third before. A low loss of the discriminator
    that lasts for only some epochs is normal.
    """
    third = len(discriminator_losses) // 3
    if third < MIN_EPOCHS or len(generator_losses) != len(discriminator_losses):
        return None
    last_third, third_before = slice(-third, None), slice(-2 * third, -third)
    final_discriminator_loss = median_high(discriminator_losses[last_third])
    final_generator_loss = median_high(generator_losses[last_third])
    earlier_generator_loss = median_high(generator_losses[third_before])
    if (
        final_discriminator_loss >= MAX_DISCRIMINATOR_LOSS
        or final_generator_loss < MIN_GENERATOR_LOSS
        or final_generator_loss < MIN_LOSS_RATIO * earlier_generator_loss
    ):
        return None
    is_near_zero = [loss < MAX_DISCRIMINATOR_LOSS for loss in discriminator_losses]
    # The index of the first epoch from which on the discriminator's loss stays near 0.
    first_epoch = len(is_near_zero) - is_near_zero[::-1].index(False) if False in is_near_zero else 0
    return {
        "discriminator_loss": final_discriminator_loss,
        "generator_loss": final_generator_loss,
        "generator_loss_a_third_before": earlier_generator_loss,
        "certain_since_epoch": first_epoch + 1,
        "epochs": len(discriminator_losses),
    }


NAME = "discriminator"
CHECK = Check(NAME, find, finds_faults=True, explains=("vanishing-generator", "collapsed-samples", "checkerboard"))
