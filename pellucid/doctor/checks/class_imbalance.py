"""Classes that have far fewer training examples than others, or none in the training or validation data."""

from math import exp, lgamma, log

import torch
from torch import Tensor

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding

MIN_RATIO = 10.0  # of class sizes, from which on the accuracy of networks drops (Buda, Maki and Mazurowski 2018)
MAX_PROBABILITY = 1e-3  # that a class is missing, or this small, by chance


def look(case: Case) -> list[Finding]:
    """Count the labels of each class in the training and validation data."""
    y = case.train.y
    if not case.classifies or int(y.min()) < 0:
        return []
    labels = y if case.validation is None else torch.cat([y, case.validation.y])
    count, named = int(labels.max()) + 1, case.train.classes or case.model.classes
    if named is not None:
        count = max(count, len(named))
    single = _single_class(case, labels, count)
    if single or count < 2:
        return single
    train = y.bincount(minlength=count)
    found = [] if case.validation is None else _missing(case, train, case.validation.y.bincount(minlength=count))
    never = labels.bincount(minlength=count) == 0
    if int(never.sum()) and named is not None and _by_chance(0, len(y), count) < MAX_PROBABILITY:
        evidence: Evidence = {"classes": count, "without_examples": int(never.sum())}
        evidence["the_first_of_them"] = _first_name(case, never)
        cause = "no example belongs to some of the listed classes"
        fix = "add examples of these classes, or remove them from the list and from the network's outputs"
        found.append(Finding(NAME, "train", evidence, cause, fix))
    present = train[train > 0]
    smallest, largest = int(present.min()), int(present.max())
    if largest >= MIN_RATIO * smallest and _by_chance(smallest, len(y), len(present)) < MAX_PROBABILITY:
        evidence = {
            "classes": len(present),
            "examples": len(y),
            "of_the_largest_class": largest,
            "of_the_smallest_class": smallest,
            "the_smallest_class": _first_name(case, train == smallest),
            "ratio": largest / smallest,
        }
        cause = "some classes have far fewer examples, and predicting them correctly lowers the loss only a little"
        fix = "collect more of the rare classes, or sample them more often; evaluate the accuracy of each class"
        found.append(Finding(NAME, "train", evidence, cause, fix))
    return found


def _single_class(case: Case, y: Tensor, count: int) -> list[Finding]:
    """Return a finding if all labels are the same, although the network has several classes."""
    outputs = case.model.output_shape[0]
    classes = max(count, outputs if isinstance(outputs, int) and outputs > 1 else 2)
    if int(y.min()) != int(y.max()) or classes ** (1.0 - len(case.train)) > MAX_PROBABILITY:
        return []
    only = _first_name(case, y.bincount() > 0)
    evidence: Evidence = {
        "examples": len(case.train),
        "different_labels": 1,
        "the_only_label": only,
        "classes_of_the_network": classes,
    }
    rest = f"the other {classes - 1} classes are" if classes > 2 else "the other class is"
    cause = f"all labels are {only}; {rest} missing"
    fix = "check how the labels are read: perhaps from a wrong column, or from one of several folders"
    return [Finding(NAME, "train", evidence, cause, fix)]


def _by_chance(least: int, n: int, classes: int) -> float:
    """Return an approximate upper bound of the probability that some class has at most `least` of n examples.

    For equally frequent classes, whose counts are approximated by a Poisson distribution.
    """
    mean = n / classes
    return classes * sum(exp(k * log(mean) - mean - lgamma(k + 1)) for k in range(least + 1))


def _missing(case: Case, train: Tensor, validation: Tensor) -> list[Finding]:
    """Find classes that only the training or only the validation data have, beyond chance; counts: (classes,)."""
    found: list[Finding] = []
    parts = (("train", train), ("validation", validation))
    for (path, here), (other, there) in (parts, parts[::-1]):
        expected = there.double() / int(there.sum()) * int(here.sum())
        lacking = (here == 0) & (expected > -log(MAX_PROBABILITY))  # the probability of none is exp(-expected)
        if int(lacking.sum()):
            evidence: Evidence = {
                "classes_missing": int(lacking.sum()),
                "the_first_of_them": _first_name(case, lacking),
                f"examples_of_them_in_{other}": int(there[lacking].sum()),
                "expected_here": float(expected[lacking].sum()),
            }
            cause = "data sorted by class were split without shuffling, or files of a class are missing"
            fix = "shuffle before splitting, or split each class separately, so that both parts have every class"
            found.append(Finding(NAME, path, evidence, cause, fix))
    return found


def _first_name(case: Case, which: Tensor) -> str:
    """Return the name of the first class in a mask (classes,)."""
    return case.class_name(int(which.nonzero()[0]))


NAME = "class-imbalance"
CHECK = Check(NAME, look, explains=("collapsed-predictions", "overfitting", "miscalibration"), direct=True)
