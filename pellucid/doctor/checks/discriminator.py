"""A discriminator that is nearly perfect, so that the generator receives no useful gradient."""

from collections.abc import Sequence
from math import log
from statistics import median_high

from pellucid.doctor.case import Case
from pellucid.doctor.finding import ANY, Check, Evidence, Finding
from pellucid.doctor.predictions import UnansweredError
from pellucid.generators import GAN

MIN_EPOCHS = 3  # in the last third of the history
CERTAIN = 0.95  # mean probability of correct answers: nearly perfect, so gradients vanish (Arjovsky and Bottou 2017)
MAX_ANSWER_LOSS = -log(CERTAIN)  # the discriminator's loss on real images, and on generated ones
MIN_GENERATOR_LOSS = -log(1 - CERTAIN)  # the generator's loss if the discriminator recognises its images
MIN_LOSS_RATIO = 0.75  # of the generator's loss to that of the third before; below, the generator still learns
COLUMNS = ("train_discriminator_loss", "train_generator_loss")


def look(case: Case) -> list[Finding]:
    """Examine the losses of a generator and its discriminator over the epochs."""
    objective = case.model.objective
    if isinstance(objective, GAN) and objective.loss != "non_saturating":
        raise UnansweredError(f"needs the loss 'non_saturating', not the loss {objective.loss!r}")
    evidence = win(*(case.column(name) for name in COLUMNS))
    if evidence is None:
        return []
    cause = "the discriminator separates real from generated with certainty, so its gradient carries no information"
    fix = "lower its learning rate, update it less often, smooth its labels or add noise to its inputs"
    return [Finding(NAME, "training", evidence, cause, fix)]


def win(discriminator: Sequence[float], generator: Sequence[float]) -> Evidence | None:
    """Return the evidence that the discriminator dominates the generator, or None.

    discriminator, generator: losses by epoch; the discriminator's loss is the sum over real and generated images. It
    dominates if its loss is near 0, and the generator's is high and does not fall: medians of the last third of the
    epochs, and of the third before. A temporary lead at the beginning is normal.
    """
    third = len(discriminator) // 3
    if third < MIN_EPOCHS or len(generator) != len(discriminator):
        return None
    late, before = slice(-third, None), slice(-2 * third, -third)
    final_discriminator, final_generator = median_high(discriminator[late]), median_high(generator[late])
    earlier_generator = median_high(generator[before])
    if (
        final_discriminator >= 2 * MAX_ANSWER_LOSS
        or final_generator < MIN_GENERATOR_LOSS
        or final_generator < MIN_LOSS_RATIO * earlier_generator
    ):
        return None
    is_certain = [loss < 2 * MAX_ANSWER_LOSS for loss in discriminator]
    # The index of the first epoch from which on the discriminator is certain in all epochs.
    since = len(is_certain) - is_certain[::-1].index(False) if False in is_certain else 0
    return {
        "discriminator_loss": final_discriminator,
        "generator_loss": final_generator,
        "generator_loss_a_third_before": earlier_generator,
        "certain_since_epoch": since + 1,
        "epochs": len(discriminator),
    }


NAME = "discriminator"
CHECK = Check(NAME, look, proven=True, of=ANY, explains=("vanishing-generator", "collapsed-samples", "checkerboard"))
