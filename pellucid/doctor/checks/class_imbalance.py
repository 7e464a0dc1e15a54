"""Classes that have far fewer training examples than others, or none, in one part or both."""

from math import exp, lgamma, log

import torch
from torch import Tensor

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding

RATIO = 10.0  # from which on networks lose accuracy (Buda, Maki, Mazurowski 2018)
LEVEL = 1e-3  # probability that a class would be missing, or as small, by chance


def look(case: Case) -> list[Finding]:
    """Count the labels of both parts."""
    y = case.train.y
    if not case.classifies or int(y.min()) < 0:
        return []
    every = y if case.validation is None else torch.cat([y, case.validation.y])
    count, named = int(every.max()) + 1, case.train.classes or case.model.classes
    if named is not None:
        count = max(count, len(named))
    sole = _sole(case, every, count)
    if sole or count < 2:
        return sole
    train = y.bincount(minlength=count)
    found = [] if case.validation is None else _gone(case, train, case.validation.y.bincount(minlength=count))
    never = every.bincount(minlength=count) == 0
    if int(never.sum()) and named is not None and _by_chance(0, len(y), count) < LEVEL:
        evidence: Evidence = {"classes": count, "without_examples": int(never.sum())}
        evidence["the_first_of_them"] = _name(case, never)
        cause = "the list of classes has some that no example belongs to"
        fix = "add examples of these classes, or take them out of the list and out of the network's outputs"
        found.append(Finding(NAME, "train", evidence, cause, fix))
    there = train[train > 0]
    least, most = int(there.min()), int(there.max())
    if most >= RATIO * least and _by_chance(least, len(y), len(there)) < LEVEL:
        evidence = {
            "classes": len(there),
            "examples": len(y),
            "of_the_largest_class": most,
            "of_the_smallest_class": least,
            "the_smallest_class": _name(case, train == least),
            "ratio": most / least,
        }
        cause = "some classes were collected far more rarely, and the loss gains little by getting them right"
        fix = "collect more of the rare classes, or draw from them more often; judge by each class's accuracy"
        found.append(Finding(NAME, "train", evidence, cause, fix))
    return found


def _sole(case: Case, y: Tensor, count: int) -> list[Finding]:
    """Look for labels that are all one class, in a network for several."""
    outputs = case.model.output_shape[0]
    classes = max(count, outputs if isinstance(outputs, int) and outputs > 1 else 2)
    if int(y.min()) != int(y.max()) or classes ** (1.0 - len(case.train)) > LEVEL:
        return []
    only = _name(case, y.bincount() > 0)
    evidence: Evidence = {
        "examples": len(case.train),
        "different_labels": 1,
        "the_only_label": only,
        "classes_of_the_network": classes,
    }
    rest = f"the other {classes - 1} classes are" if classes > 2 else "the other class is"
    cause = f"all labels are {only}; {rest} never asked for"
    fix = "look at how the labels are read: a wrong column, or one folder of several"
    return [Finding(NAME, "train", evidence, cause, fix)]


def _by_chance(least: int, n: int, classes: int) -> float:
    """Return about how probable it is that one of so many equal classes has at most `least` of n examples (Poisson)."""
    mean = n / classes
    return classes * sum(exp(k * log(mean) - mean - lgamma(k + 1)) for k in range(least + 1))


def _gone(case: Case, train: Tensor, validation: Tensor) -> list[Finding]:
    """Compare the counts of both parts: a class that one has and the other lacks, where that is not chance."""
    found: list[Finding] = []
    parts = (("train", train), ("validation", validation))
    for (path, here), (other, there) in (parts, parts[::-1]):
        expected = there.double() / int(there.sum()) * int(here.sum())
        lacking = (here == 0) & (expected > -log(LEVEL))  # the probability of none is exp(-expected)
        if int(lacking.sum()):
            evidence: Evidence = {
                "classes_missing": int(lacking.sum()),
                "the_first_of_them": _name(case, lacking),
                f"examples_of_them_in_{other}": int(there[lacking].sum()),
                "expected_here": float(expected[lacking].sum()),
            }
            cause = "the parts were cut from data in the order of their classes, or files of a class were left out"
            fix = "shuffle before splitting, or split each class by itself, so that both parts have every class"
            found.append(Finding(NAME, path, evidence, cause, fix))
    return found


def _name(case: Case, which: Tensor) -> str:
    return case.class_name(int(which.nonzero()[0]))


NAME = "class-imbalance"
CHECK = Check(NAME, look, explains=("collapsed-predictions", "overfitting", "miscalibration"), proven=True)
