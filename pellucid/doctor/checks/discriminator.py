"""A discriminator that wins too early, so that the generator has nothing to learn from."""

from collections.abc import Sequence
from math import log
from statistics import median_high

from pellucid.doctor.case import Case
from pellucid.doctor.finding import ANY, Check, Evidence, Finding
from pellucid.doctor.predictions import UnansweredError
from pellucid.generators import GAN

MIN_ROWS = 3  # in the last third
CERTAIN = 0.95  # the probability that it gives right answers: near perfect, gradients vanish (Arjovsky, Bottou 2017)
LOST = -log(CERTAIN)  # its loss for each of its two answers
FOOLED = -log(1 - CERTAIN)  # the generator's loss where the discriminator recognises its images
FALLEN = 0.75  # the generator's loss over that of the third before: where it is less, the generator still learns
COLUMNS = ("train_discriminator_loss", "train_generator_loss")


def look(case: Case) -> list[Finding]:
    """Examine the history of a generator and its discriminator, if it is one."""
    objective = case.model.objective
    if isinstance(objective, GAN) and objective.loss != "non_saturating":
        raise UnansweredError(f"knows the cross-entropy of discriminators, not the loss {objective.loss!r}")
    evidence = win(*(case.column(name) for name in COLUMNS))
    if evidence is None:
        return []
    cause = "the discriminator separates real from generated with certainty, so its gradient carries no information"
    fix = "lower its learning rate, let it learn less often, smooth its labels or put noise on its inputs"
    return [Finding(NAME, "training", evidence, cause, fix)]


def win(discriminator: Sequence[float], generator: Sequence[float]) -> Evidence | None:
    """Return the evidence that the discriminator dominates the generator, or None.

    discriminator, generator: losses by epoch; the discriminator's is the sum over real and generated images. It
    dominates if its loss is near 0, and the generator's is high and does not fall: medians of the last third of the
    epochs, and of the third before. A passing lead at the beginning is normal.
    """
    third = len(discriminator) // 3
    if third < MIN_ROWS or len(generator) != len(discriminator):
        return None
    late, before = slice(-third, None), slice(-2 * third, -third)
    lost, made, then = median_high(discriminator[late]), median_high(generator[late]), median_high(generator[before])
    if lost >= 2 * LOST or made < FOOLED or made < FALLEN * then:
        return None
    good = [loss < 2 * LOST for loss in discriminator]
    since = len(good) - good[::-1].index(False) if False in good else 0  # the first from which on all are good
    return {
        "discriminator_loss": lost,
        "generator_loss": made,
        "generator_loss_a_third_before": then,
        "certain_since_epoch": since + 1,
        "epochs": len(discriminator),
    }


NAME = "discriminator"
CHECK = Check(NAME, look, proven=True, of=ANY, explains=("vanishing-generator", "collapsed-samples", "checkerboard"))
