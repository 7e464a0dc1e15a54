"""Classes that have far fewer training examples than others, or none, in one part or both."""

from math import exp, lgamma, log

import torch
from torch import Tensor

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding, Number

RATIO = 10.0  # from which on networks lose accuracy (Buda, Maki, Mazurowski 2018)
LEVEL = 1e-3  # probability that a class would be missing, or as small, by chance


def look(case: Case) -> list[Finding]:
    """Count the labels of both parts."""
    y = case.train.y
    if not case.classifies or int(y.min()) < 0:
        return []
    held = None if case.validation is None else case.validation.y
    count = int(y.max()) + 1 if held is None else max(int(y.max()), int(held.max())) + 1
    named = case.train.classes or case.model.classes
    if named is not None:
        count = max(count, len(named))
    sole = _sole(case, y if held is None else torch.cat([y, held]), count)
    if sole or count < 2:
        return sole
    train = y.bincount(minlength=count)
    found = _gone(case, train, held) if held is not None else []
    never = train == 0 if held is None else (train == 0) & (held.bincount(minlength=count) == 0)
    if int(never.sum()) and named is not None and _by_chance(0, len(y), count) < LEVEL:
        found.append(
            Finding(
                NAME,
                "train",
                {"classes": count, "without_examples": int(never.sum()), "the_first_of_them": _name(case, never)},
                "the list of classes has some that no example belongs to",
                "add examples of these classes, or take them out of the list and out of the network's outputs",
            )
        )
    there = train[train > 0]
    least, most = int(there.min()), int(there.max())
    if most >= RATIO * least and _by_chance(least, len(y), len(there)) < LEVEL:
        rare = _name(case, train == least)
        found.append(
            Finding(
                NAME,
                "train",
                {
                    "classes": len(there),
                    "examples": len(y),
                    "of_the_largest_class": most,
                    "of_the_smallest_class": least,
                    "the_smallest_class": rare,
                    "ratio": most / least,
                },
                "some classes were collected far more rarely, and the loss gains little by getting them right",
                "collect more of the rare classes, or draw from them more often; judge by each class's accuracy",
            )
        )
    return found


def _sole(case: Case, y: Tensor, count: int) -> list[Finding]:
    """Look for labels that are all one class, in a network for several."""
    outputs = case.model.output_shape[0]
    classes = max(count, outputs if isinstance(outputs, int) and outputs > 1 else 2)
    if int(y.min()) != int(y.max()) or classes ** (1.0 - len(case.train)) > LEVEL:
        return []
    only = _name(case, y.bincount() > 0)
    evidence: dict[str, Number] = {
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


def _gone(case: Case, train: Tensor, held: Tensor) -> list[Finding]:
    """Compare the parts: a class that one has and the other lacks, where that is no chance."""
    found: list[Finding] = []
    parts = (("train", train), ("validation", held.bincount(minlength=len(train))))
    for (path, here), (other, there) in (parts, parts[::-1]):
        share = there.double() / int(there.sum())
        expected = share * int(here.sum())
        lacking = (here == 0) & (expected > -log(LEVEL))  # the probability of none is exp(-expected)
        if not int(lacking.sum()):
            continue
        found.append(
            Finding(
                NAME,
                path,
                {
                    "classes_missing": int(lacking.sum()),
                    "the_first_of_them": _name(case, lacking),
                    f"examples_of_them_in_{other}": int(there[lacking].sum()),
                    "expected_here": float(expected[lacking].sum()),
                },
                "the parts were cut from data in the order of their classes, or files of a class were left out",
                "shuffle before splitting, or split each class by itself, so that both parts have every class",
            )
        )
    return found


def _name(case: Case, which: Tensor) -> str:
    return case.class_name(int(which.nonzero()[0]))


NAME = "class-imbalance"
CHECK = Check(
    NAME,
    "Some classes have far fewer examples than others, or none.",
    look,
    explains=("collapsed-predictions", "overfitting", "miscalibration"),
    proven=True,
)
