"""A model that is right on its training examples and on few others."""

from math import sqrt

import torch

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding, Remedy
from pellucid.doctor.predictions import Predictions
from pellucid.doctor.remedies import with_examples
from pellucid.doctor.trials import Attempts

GAP = 0.15  # of accuracy; a tenth is common where data are few
SMALL_GAP = 0.1  # counts where the validation loss rose too
ROSE = 1.5  # times its minimum
KNOWN = 0.5  # of the training examples, at least, that the model is right on: fewer are not known by heart
SURE = 3.0  # standard deviations of the difference of two shares
FEWER = 0.05  # of the score, that the other three quarters of the examples must bring
MIN_EXAMPLES = 16  # of which a quarter can be learned from
NUMBERS = 3.0  # times the training loss, for targets that are not classes


def look(case: Case) -> list[Finding]:
    """Compare training with validation, now and over the epochs."""
    if not case.trained or case.loss == float("inf"):
        return []
    losses = case.column("val_loss")
    seen, unseen = case.train_predictions, case.validation_predictions
    if unseen is None or case.validation_sample is None:
        return []
    rose = unseen.loss / min(losses) if losses and min(losses) > 0 else 1.0
    evidence: Evidence = {
        "examples": len(case.train),
        "train_loss": seen.loss,
        "validation_loss": unseen.loss,
        "validation_loss_over_its_minimum": rose,
    }
    if losses:
        evidence["epoch_of_the_minimum"] = losses.index(min(losses)) + 1
    if case.classifies:
        here, there = seen.accuracy, unseen.accuracy
        spread = sqrt(_variance(here, len(case.sample)) + _variance(there, len(case.validation_sample)))
        wide = here >= KNOWN and here - there > max(GAP if rose < ROSE else SMALL_GAP, SURE * spread)
        evidence = {"train_accuracy": here, "validation_accuracy": there, "gap": here - there, **evidence}
    else:
        constant = _constant(case, unseen)
        evidence["validation_loss_of_the_mean"] = constant
        wide = unseen.loss > NUMBERS * seen.loss and (rose >= ROSE or unseen.loss > constant)
    if not wide:
        return []
    more = _by_size(case, len(case.validation_sample))
    if more is None:
        return [Finding(NAME, "validation", evidence)]
    evidence |= {"score_after_a_short_training": more[0], "with_a_quarter_of_the_examples": more[1]}
    cause = (
        "the examples are too few: with a quarter of them the same training does worse, so with more it would do better"
    )
    fix = "get more or augmented examples, add weight decay or dropout, or stop where the validation loss is lowest"
    return [Finding(NAME, "validation", evidence, cause, fix, proven=True)]


def _by_size(case: Case, measured: int) -> tuple[float, float] | None:
    """Return the scores with all and with a quarter of the examples, if they differ clearly, so that more matter."""
    n = len(case.train)
    if not case.trainable or n < MIN_EXAMPLES:
        return None
    fewer = Remedy("a quarter of the examples", lambda case: with_examples(case, torch.arange(0, n, 4)))
    whole, less = Attempts(case)(fewer).score
    sure = SURE * sqrt(_variance(whole, measured) + _variance(less, measured))
    return (whole, less) if whole - less >= max(FEWER, sure) else None


def _constant(case: Case, unseen: Predictions) -> float:
    """Return the validation loss of the training targets' mean; infinite where that says nothing."""
    y, target = unseen.y, unseen.part.y
    if not case.compares or y.numel() != target.numel():
        return float("inf")
    mean = case.train.y.float().mean(0, keepdim=True).expand_as(target).reshape(y.shape)
    return case.model.loss(mean, target)[0].item()


def _variance(share: float, n: int) -> float:
    return max(share * (1 - share), 1 / n) / n


NAME = "overfitting"
CHECK = Check(NAME, look, unseen=1, trained=True)
