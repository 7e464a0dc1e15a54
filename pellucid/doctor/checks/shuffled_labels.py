"""Labels that are unrelated to their inputs, for all or a large fraction of the training or validation data."""

from dataclasses import replace

from pellucid.data.source import Arrays
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding, Remedy
from pellucid.doctor.remedies import with_validation
from pellucid.doctor.simple import CorrectCount, KernelClassifier, hits, simple

MAX_CHANCE = 3.0  # standard deviations above chance; the accuracy on random labels is lower 999 times in 1000
MIN_CLEAR = 5.0  # standard deviations above chance; a higher accuracy is certainly not due to chance
MIN_SUFFICIENT = 500  # with so many examples, a simple classifier beats chance if labels depend on the inputs
MIN_EXAMPLES = 100  # enough if the classifier clearly beats chance on the other part of the data
MIN_OTHERS = 50  # examples outside of the most frequent class; with fewer, chance cannot be ruled out
MAX_RANDOM = 0.3  # fraction of random labels; below, they may be the usual label noise of large data sets
MAX_ROLL = 32  # largest offset between the lists of labels and inputs


def look(case: Case) -> list[Finding]:
    """Predict labels by a simple classifier, within and across training and validation data."""
    train = _large_enough(case.simple)
    if train is None:
        return []
    # Fitted to the same classes, because other classes may be easier to distinguish.
    part = case.validation
    other = None if part is None else _large_enough(simple(part, case.model.seed, train.classes))
    found = _rolled(case, "train", case.train, train)
    if not found and train.leave_one_out.deviations_above_chance < MAX_CHANCE:
        sufficient = len(train.y) >= MIN_SUFFICIENT or (
            other is not None and other.leave_one_out.deviations_above_chance > MIN_CLEAR
        )
        if sufficient and not _learned(case):
            found.append(_unrelated_labels("train", train))
    elif not found and part is not None and other is not None:
        found += _partly("train", train.leave_one_out, hits(train.predict(part.x[other.indices]), other.y))
    if part is None or other is None:
        return found
    if rolled := _rolled(case, "validation", part, other):
        return found + rolled
    if other.leave_one_out.deviations_above_chance < MAX_CHANCE:
        if train.of_size(len(other.y)).deviations_above_chance > MIN_CLEAR and not _learned(case):
            found.append(_unrelated_labels("validation", other))
    else:
        found += _partly("validation", other.leave_one_out, hits(other.predict(case.train.x[train.indices]), train.y))
    return found


def _large_enough(simple: KernelClassifier | None) -> KernelClassifier | None:
    """Return the classifier if it has enough examples, of more than one class; else None."""
    if simple is None or len(simple.y) < MIN_EXAMPLES:
        return None
    return simple if len(simple.y) - int(simple.y.bincount().max()) >= MIN_OTHERS else None


def _learned(case: Case) -> bool:
    """Return whether the network predicts most validation examples correctly, so that labels depend on inputs."""
    _, validation = case.class_predictions or (None, None)
    if validation is None:
        return False
    counts = hits(validation.classes, validation.part.y)
    return counts.accuracy > 0.5 + counts.chance / 2 and counts.deviations_above_chance > MIN_CLEAR


def _random_fraction(within: CorrectCount, across: CorrectCount) -> float:
    """Return the estimated fraction of random labels in the training or validation data; 0 if it may be chance.

    within, across: the results of a classifier fitted to these labels, on the same data and on the other data. With
    random labels, fewer predictions are correct within than across.
    """
    above_chance = across.accuracy - across.chance
    std = (
        within.accuracy * (1 - within.accuracy) / within.n + across.accuracy * (1 - across.accuracy) / across.n
    ) ** 0.5
    if above_chance <= 0 or across.accuracy - within.accuracy < MIN_CLEAR * std:
        return 0.0
    return 1 - max(within.accuracy - within.chance, 0.0) / above_chance


def _unrelated_labels(path: str, fitted: KernelClassifier) -> Finding:
    cause = "inputs and labels were sorted, shuffled or filtered separately, so they no longer belong together"
    fix = "read each input and its label from one list, shuffle both in the same order, and look at some of them"
    return Finding(NAME, path, _accuracy(fitted.leave_one_out), cause, fix)


def _rolled(case: Case, path: str, part: Arrays, fitted: KernelClassifier) -> list[Finding]:
    """Look for labels that are predicted far better if they are moved by a few positions in the list.

    In a list sorted by class, some labels are right even if all are moved.
    """
    if _learned(case):
        return []
    best, moved = 0, fitted.leave_one_out
    for shift in (*range(1, MAX_ROLL + 1), *range(-1, -MAX_ROLL - 1, -1)):
        y = part.y.roll(shift)[fitted.indices]
        other = hits(fitted.relabelled(y), y)
        if other.accuracy > moved.accuracy:
            best, moved = shift, other
    if _random_fraction(fitted.leave_one_out, moved) <= MAX_RANDOM:
        return []

    def fixed(part: Arrays) -> Arrays:
        return replace(part, y=part.y.roll(best))

    def rolled(case: Case) -> Case:
        return replace(case, train=fixed(case.train)) if path == "train" else with_validation(case, fixed)

    evidence: Evidence = {**_accuracy(fitted.leave_one_out), "labels_moved_by": best, "right_then": moved.accuracy}
    cause = f"each label belongs to the input {abs(best)} {'before' if best < 0 else 'after'} it in the list"
    fix = "align labels and inputs again, and read both from one list"
    return [Finding(NAME, path, evidence, cause, fix, Remedy(f"labels moved by {best} places", rolled))]


def _accuracy(hits: CorrectCount) -> Evidence:
    return {
        "examples": hits.n,
        "right_by_a_simple_classifier": hits.accuracy,
        "right_by_chance": hits.chance,
        "above_chance_in_standard_deviations": hits.deviations_above_chance,
    }


def _partly(path: str, within: CorrectCount, across: CorrectCount) -> list[Finding]:
    random = _random_fraction(within, across)
    if random <= MAX_RANDOM:
        return []
    evidence: Evidence = {
        "examples": within.n,
        "right_by_a_simple_classifier": within.accuracy,
        "right_on_the_other_part": across.accuracy,
        "right_by_chance": within.chance,
        "share_of_labels_without_sense": random,
    }
    cause = "some of the labels no longer belong to their inputs, as if one of several files had been reordered"
    fix = "find out which files or batches the wrong labels come from, and read them again with their inputs"
    return [Finding(NAME, path, evidence, cause, fix)]


NAME = "shuffled-labels"
CHECK = Check(
    NAME, look, examples=MIN_EXAMPLES, direct=True,
    explains=("confused-labels", "label-noise", "overfitting", "underfitting", "miscalibration",
              "collapsed-predictions", "learning-rate-too-low", "update-ratio", "useless-maps"),
)  # fmt: skip
