"""Labels that are unrelated to their inputs, for all or a large fraction of the training or validation data."""

from collections.abc import Callable

import torch

from pellucid.data.source import Arrays
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding
from pellucid.doctor.inputs import subsample
from pellucid.doctor.redrawn import finding_of_hidden_labels
from pellucid.doctor.simple_classifier import (
    MAX_EXAMPLES,
    CorrectCount,
    KernelClassifier,
    count_correct,
    fit_simple_classifier,
    relation_to_labels,
)

MAX_CHANCE = 3.0  # standard deviations above chance; on random labels, 999 of 1000 accuracies are lower
MIN_CERTAIN = 5.0  # standard deviations above chance; a higher accuracy is certainly not due to chance
MIN_SUFFICIENT = 500  # with so many examples, a simple classifier beats chance if labels depend on the inputs
MIN_EXAMPLES = 100  # enough only if the classifier clearly beats chance on the other data (training or validation)
MIN_OTHER_CLASSES = 50  # examples outside of the most frequent class; with fewer, chance cannot be ruled out
MAX_RELATION = 2.0  # of several labels, in standard deviations above chance; related ones of 150 examples reach 11
MIN_RARER = 150  # examples without the most frequent label; fewer may tell too little of their labels
MAX_LABELS = 20  # of several labels of an example, those that are the most even
MAX_RANDOM = 0.3  # fraction of random labels; a lower fraction may be the label noise of large data sets


def find(case: Case) -> list[Finding]:
    """Predict labels by simple classifiers, each evaluated on its own data by leave-one-out and on the other data.

    One classifier is fitted to training data, one to validation data.
    """
    case = case if case.hides_labels else case.judged
    if not case.classifies:
        return [] if case.hides_labels else _findings_of_several_labels(case)
    classifier, validation = _large_enough(case.simple_classifier), case.validation
    if classifier is None:
        return []
    # of inputs that change at random, even many need not show their labels
    n_rarer = len(classifier.y) - int(classifier.y.bincount().max())
    are_many = len(classifier.y) >= MIN_SUFFICIENT and n_rarer >= MIN_RARER and case.redrawn is None
    if validation is None:
        return _part_findings(case, "train", classifier, lambda: are_many)
    # The second classifier is fitted to the same classes, because other classes may be easier to distinguish.
    other = _large_enough(fit_simple_classifier(validation, case.model.seed, classifier.classes))

    def is_sufficient() -> bool:
        has_certain_validation = other is not None and other.leave_one_out.deviations_above_chance > MIN_CERTAIN
        return are_many or has_certain_validation

    # inputs that change much are less accurately predicted than others, also if all labels are right
    other_part = None if case.hides_labels else validation
    findings = _part_findings(case, "train", classifier, is_sufficient, other_part, other)
    if case.hides_labels:
        findings = [finding_of_hidden_labels(case, one.evidence) for one in findings]
    if other is not None:
        findings += _part_findings(
            case, "validation", other,
            lambda: classifier.correct_count_of_size(len(other.y)).deviations_above_chance > MIN_CERTAIN,
            case.train, classifier,
        )  # fmt: skip
    return findings


def _part_findings(
    case: Case, path: str, classifier: KernelClassifier, is_sufficient: Callable[[], bool],
    other_part: Arrays | None = None, other: KernelClassifier | None = None,
) -> list[Finding]:  # fmt: skip
    """Examine the labels of one data set.

    is_sufficient: returns whether the classifier would beat chance if labels depended on the inputs. other_part, other:
    the other data set and the classifier that is fitted to it.
    """
    if classifier.leave_one_out.deviations_above_chance < MAX_CHANCE:
        is_certain = is_sufficient() and not _is_learned(case)
        return [_unrelated_labels(path, _evidence(classifier.leave_one_out))] if is_certain else []
    if other_part is None or other is None:
        return []
    on_other_data = count_correct(classifier.predict(other_part.x[other.indices]), other.y)
    return _findings_of_random_fraction(path, classifier.leave_one_out, on_other_data)


def _findings_of_several_labels(case: Case) -> list[Finding]:
    """Examine labels of 0 and 1 (N, K), of which an example may have several, in both data sets."""
    x, y, validation = case.train.x, case.train.y, case.validation
    has_tokens = not x.is_floating_point() and x.dim() != 4
    if has_tokens or not y.is_floating_point() or y.dim() > 2 or not bool(((y == 0) | (y == 1)).all()):
        return []
    rarer = torch.minimum(y.sum(0), (1 - y).sum(0)).max()
    are_many = len(y) >= MIN_SUFFICIENT and case.redrawn is None and float(rarer) >= MIN_RARER
    parts = {"train": case.train} if validation is None else {"train": case.train, "validation": validation}
    relations = {path: _relation(case, data, MAX_EXAMPLES) for path, data in parts.items()}
    findings: list[Finding] = []
    for path, relation in relations.items():
        if relation is None or relation >= MAX_RELATION:
            continue
        others = [_relation(case, data, len(parts[path])) for other, data in parts.items() if other != path]
        is_certain = any((other or 0.0) > MIN_CERTAIN for other in others)
        if (is_certain or (path == "train" and are_many)) and not _predicts_labels(case):
            evidence: Evidence = {"examples": len(parts[path].y), "labels": y[0].numel()}
            evidence["above_chance_in_standard_deviations"] = relation
            findings.append(_unrelated_labels(path, evidence))
    return findings


def _relation(case: Case, data: Arrays, max_examples: int) -> float | None:
    """Return how much the inputs tell of several labels; None for fewer than MIN_EXAMPLES, or only rare labels."""
    data = subsample(data, min(max_examples, MAX_EXAMPLES), case.model.seed)
    y = data.y.flatten(1) if data.y.dim() > 1 else data.y[:, None]
    rarer = torch.minimum(y.sum(0), (1 - y).sum(0))
    chosen = rarer.argsort(descending=True)[:MAX_LABELS]
    chosen = chosen[rarer[chosen] >= MIN_OTHER_CLASSES]
    if len(data) < MIN_EXAMPLES or not len(chosen):
        return None
    return relation_to_labels(data.x, y[:, chosen], case.model.seed)


def _predicts_labels(case: Case) -> bool:
    """Return whether the network's outputs for validation examples fit their own labels better than by chance."""
    predicted = case.validation_predictions if case.trained else None
    if predicted is None or predicted.y.numel() != predicted.examples.y.numel():
        return False
    both = (one.reshape(len(one), -1).double() for one in (predicted.y, predicted.examples.y))
    outputs, y = (one - one.mean(0) for one in both)
    deviations = (outputs * y).sum(0) / (outputs.std(0) * y.std(0) * len(y) ** 0.5).clamp_min(1e-12)
    return float(deviations.max()) > MIN_CERTAIN


def _large_enough(classifier: KernelClassifier | None) -> KernelClassifier | None:
    """Return the classifier if it is fitted to enough examples of more than one class; else None."""
    if classifier is None or len(classifier.y) < MIN_EXAMPLES:
        return None
    return classifier if len(classifier.y) - int(classifier.y.bincount().max()) >= MIN_OTHER_CLASSES else None


def _is_learned(case: Case) -> bool:
    """Return whether the network predicts validation examples certainly better than by chance, so that labels fit."""
    _, validation = case.class_predictions or (None, None)
    if validation is None:
        return False
    counts = count_correct(validation.classes, validation.examples.y)
    return counts.deviations_above_chance > MIN_CERTAIN


def _random_fraction(same_data: CorrectCount, other_data: CorrectCount) -> float:
    """Return the estimated fraction of random labels in the training or validation data; 0 if it may be chance.

    same_data, other_data: the results of a classifier fitted to these labels, on the same data and on the other data
    set. If some of the labels are random, the accuracy is lower on the same data than on the other data set.
    """
    above_chance = other_data.accuracy - other_data.chance
    std = sum(counts.accuracy * (1 - counts.accuracy) / counts.n for counts in (same_data, other_data)) ** 0.5
    if above_chance <= 0 or other_data.accuracy - same_data.accuracy < MIN_CERTAIN * std:
        return 0.0
    return 1 - max(same_data.accuracy - same_data.chance, 0.0) / above_chance


def _evidence(count: CorrectCount) -> Evidence:
    return {
        "examples": count.n,
        "right_by_a_simple_classifier": count.accuracy,
        "right_by_chance": count.chance,
        "above_chance_in_standard_deviations": count.deviations_above_chance,
    }


def _unrelated_labels(path: str, evidence: Evidence) -> Finding:
    return Finding(
        NAME,
        path,
        evidence=evidence,
        cause="inputs tell no more of the labels than chance: both were sorted, shuffled or filtered separately, so "
        "they no longer belong together, or the inputs do not show what the labels say",
        fix="read each input and its label from one list (names of files sorted as text have 10 before 2), shuffle "
        "both in the same order, and look at some of them; if nobody could tell the label from the input, give inputs "
        "that show it, such as longer windows",
    )


def _findings_of_random_fraction(path: str, same_data: CorrectCount, other_data: CorrectCount) -> list[Finding]:
    random_fraction = _random_fraction(same_data, other_data)
    if random_fraction <= MAX_RANDOM:
        return []
    return [
        Finding(
            NAME,
            path,
            evidence={
                "examples": same_data.n,
                "right_by_a_simple_classifier": same_data.accuracy,
                "right_on_the_other_part": other_data.accuracy,
                "right_by_chance": same_data.chance,
                "share_of_labels_without_sense": random_fraction,
            },
            cause="some of the labels no longer belong to their inputs, as if one of several files had been reordered",
            fix="find out which files or batches the wrong labels come from, and read them again with their inputs",
        )
    ]


NAME = "shuffled-labels"
CHECK = Check(
    NAME, find, examples=MIN_EXAMPLES, finds_faults=True,
    explains=("confused-labels", "label-noise", "overfitting", "underfitting"),
)  # fmt: skip
