"""Classes that have far fewer training examples than others, or none in the training or validation data."""

from dataclasses import replace
from math import exp, lgamma, log

import torch
from torch import Tensor

from pellucid.doctor.case import MAX_SAMPLE, Case, predictions
from pellucid.doctor.finding import Check, Finding

MIN_RATIO = 10.0  # of class sizes; from this ratio on, accuracies are lower (Buda, Maki and Mazurowski 2018)
LACKED_CLASS = "lacked-class"  # the kind of findings that name a class that is lacking
MIN_RECALL = 0.5  # share of the training examples of a rare class that are found by a model that has learned it
MAX_PROBABILITY = 1e-3  # that a class is missing or as small as measured by chance


def find(case: Case) -> list[Finding]:
    """Count the labels of each class in the training and validation data."""
    y = _labels(case, case.train.y)
    validation_y = None if case.validation is None else _labels(case, case.validation.y)
    if y is None or int(y.min()) < 0:
        return []
    labels = y if validation_y is None else torch.cat([y, validation_y])
    n_classes = max(int(labels.max()) + 1, len(case.train.classes or case.model.classes or ()))
    if n_classes < 2:
        return []
    counts = y.bincount(minlength=n_classes)
    findings = _missing_classes(case, counts, validation_y)
    present = counts[counts > 0]
    smallest, largest = int(present.min()), int(present.max())
    if (
        largest >= MIN_RATIO * smallest
        and _probability_by_chance(smallest, len(y), len(present)) < MAX_PROBABILITY
        and not _are_found(case, y == (counts == smallest).nonzero()[0])
    ):
        findings.append(
            Finding(
                NAME,
                "train",
                evidence={
                    "classes": len(present),
                    "examples": len(y),
                    "of_the_largest_class": largest,
                    "of_the_smallest_class": smallest,
                    "the_smallest_class": _first_class_name(case, counts == smallest),
                    "ratio": largest / smallest,
                },
                cause="some classes have far fewer examples, and predicting them correctly lowers the loss only a "
                "little",
                fix="collect more of the rare classes, or sample them more often; evaluate the accuracy of each class",
            )
        )
    return findings


def _labels(case: Case, y: Tensor) -> Tensor | None:
    """Return the classes (N,) of targets, also of a single output between 0 and 1; None for other targets."""
    if case.classifies:
        return y
    is_single = y.is_floating_point() and y[0].numel() == 1
    return y.flatten().long() if is_single and bool(((y == 0) | (y == 1)).all()) else None


def _are_found(case: Case, is_rare: Tensor) -> bool:
    """Return whether a trained model predicts at least MIN_RECALL of the training examples of a rare class."""
    if not case.trained:
        return False
    indices = is_rare.nonzero().flatten()[:MAX_SAMPLE]
    rare = replace(case.train, x=case.train.x[indices], y=case.train.y[indices])
    predicted = predictions(case.model, rare)
    return bool((predicted.classes.flatten() == predicted.examples.y.flatten()).double().mean() >= MIN_RECALL)


def _probability_by_chance(max_count: int, n: int, classes: int) -> float:
    """Return an approximate upper bound of the probability that some class has at most `max_count` of n examples.

    The classes are assumed to be equally frequent, and their counts are approximated by a Poisson distribution.
    """
    mean = n / classes
    return classes * sum(exp(k * log(mean) - mean - lgamma(k + 1)) for k in range(max_count + 1))


def _missing_classes(case: Case, train_counts: Tensor, validation_y: Tensor | None) -> list[Finding]:
    """Find classes that are missing in the training or the validation data, but not by chance.

    train_counts: the number of training examples of each class, (classes,). validation_y: the validation labels.
    """
    findings: list[Finding] = []
    if validation_y is None:
        return findings
    both_counts = (("train", train_counts), ("validation", validation_y.bincount(minlength=len(train_counts))))
    for (path, counts), (other_path, other_counts) in (both_counts, both_counts[::-1]):
        expected = other_counts.double() / int(other_counts.sum()) * int(counts.sum())
        is_lacking = (counts == 0) & (expected > -log(MAX_PROBABILITY))  # the probability of none is exp(-expected)
        if int(is_lacking.sum()):
            findings.append(
                Finding(
                    NAME,
                    path,
                    evidence={
                        "classes_missing": int(is_lacking.sum()),
                        "the_first_of_them": _first_class_name(case, is_lacking),
                        f"examples_of_them_in_{other_path}": int(other_counts[is_lacking].sum()),
                        "expected_here": float(expected[is_lacking].sum()),
                    },
                    cause="data sorted by class were split without shuffling, or files of a class are missing",
                    fix="shuffle before splitting, or split each class separately, so that both parts have every class",
                    kind=LACKED_CLASS,
                )
            )
    return findings


def _first_class_name(case: Case, mask: Tensor) -> str:
    """Return the name of the first class for which a mask of shape (classes,) is True."""
    return case.class_name(int(mask.nonzero()[0]))


NAME = "class-imbalance"
CHECK = Check(NAME, find, explains=("overfitting",), finds_faults=True)
