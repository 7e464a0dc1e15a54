"""A discriminator that wins too early, so that the generator has nothing to learn from."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from statistics import median_high

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding, Number
from pellucid.doctor.measure.columns import column

ROWS = 3  # at least, in the last third
CERTAIN = 0.95  # the probability that it gives right answers: near perfect, gradients vanish (Arjovsky, Bottou 2017)
LOST = -log(CERTAIN)  # its loss for each of its two answers
RIGHT = 0.98  # its accuracy
FOOLED = -log(1 - CERTAIN)  # the generator's loss where the discriminator sees through it
FALLEN = 0.75  # the generator's loss over that of the third before: where it is less, the generator still learns


@dataclass(frozen=True)
class Win:
    """Medians of the last third of the epochs, and of the generator's loss in the third before.

    since: the first epoch, from 1, from which on the discriminator stayed as good. accuracy: None where unmeasured.
    """

    discriminator: float
    generator: float
    generator_before: float
    accuracy: float | None
    since: int


def win(discriminator: Sequence[float], generator: Sequence[float], accuracy: Sequence[float] = ()) -> Win | None:
    """Return how the discriminator won, or None; losses by epoch, the discriminator's the sum of both answers.

    Won is where the discriminator is near certain of real and generated, and the generator's loss is high and does not
    fall. An early, passing lead is normal.
    """
    third = len(discriminator) // 3
    if third < ROWS or len(generator) != len(discriminator):
        return None
    late, before = slice(-third, None), slice(-2 * third, -third)
    lost, made = median_high(discriminator[late]), median_high(generator[late])
    then = median_high(generator[before])
    right = median_high(accuracy[late]) if len(accuracy) == len(discriminator) else None
    certain = lost < 2 * LOST or (right is not None and right > RIGHT)
    if not certain or made < FOOLED or made < FALLEN * then:
        return None
    good = [
        loss < 2 * LOST or (right is not None and accuracy[place] > RIGHT) for place, loss in enumerate(discriminator)
    ]
    since = len(good) - good[::-1].index(False) if False in good else 0
    return Win(lost, made, then, right, since + 1)


def look(case: Case) -> list[Finding]:
    """Look at the history of a generator and its discriminator, if it is one."""
    found = win(*(column(case.history, f"{name}") for name in COLUMNS))
    if found is None:
        return []
    evidence: dict[str, Number] = {
        "discriminator_loss": found.discriminator,
        "generator_loss": found.generator,
        "generator_loss_a_third_before": found.generator_before,
        "certain_since_epoch": found.since,
        "epochs": len(column(case.history, COLUMNS[0])),
    }
    if found.accuracy is not None:
        evidence["discriminator_accuracy"] = found.accuracy
    return [
        Finding(
            NAME,
            "training",
            evidence,
            "the discriminator tells real from generated with certainty, and then its gradient tells nothing",
            "lower its learning rate, let it learn less often, smooth its labels or put noise on its inputs",
        )
    ]


COLUMNS = ("discriminator_loss", "generator_loss", "discriminator_accuracy")
NAME = "discriminator"
CHECK = Check(NAME, "The discriminator wins so early that the generator has nothing to learn from.", look, proven=True)
