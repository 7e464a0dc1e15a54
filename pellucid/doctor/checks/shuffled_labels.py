"""Labels that are unrelated to their inputs, for all or a large fraction of the training or validation data."""

from dataclasses import replace

from pellucid.data.source import Arrays
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding, Remedy
from pellucid.doctor.remedies import with_validation
from pellucid.doctor.simple_classifier import CorrectCount, KernelClassifier, count_correct, fit_simple_classifier

MAX_CHANCE = 3.0  # standard deviations above chance; on random labels, 999 of 1000 accuracies are lower
MIN_CERTAIN = 5.0  # standard deviations above chance; a higher accuracy is certainly not due to chance
MIN_SUFFICIENT = 500  # with so many examples, a simple classifier beats chance if labels depend on the inputs
MIN_EXAMPLES = 100  # enough only if the classifier clearly beats chance on the other data (training or validation)
MIN_OTHER_CLASSES = 50  # examples outside of the most frequent class; with fewer, chance cannot be ruled out
MAX_RANDOM = 0.3  # fraction of random labels; a lower fraction may be the label noise of large data sets
MAX_ROLL = 32  # largest offset between the lists of labels and inputs


def find(case: Case) -> list[Finding]:
    """Predict labels by simple classifiers, each evaluated on its own data by leave-one-out and on the other data.

    One classifier is fitted to training data, one to validation data.
    """
    train_classifier = _large_enough(case.simple_classifier)
    if train_classifier is None:
        return []
    # The second classifier is fitted to the same classes, because other classes may be easier to distinguish.
    validation = case.validation
    validation_classifier = (
        None
        if validation is None
        else _large_enough(fit_simple_classifier(validation, case.model.seed, train_classifier.classes))
    )
    findings = _findings_of_offset(case, "train", case.train, train_classifier)
    if not findings and train_classifier.leave_one_out.deviations_above_chance < MAX_CHANCE:
        is_sufficient = len(train_classifier.y) >= MIN_SUFFICIENT or (
            validation_classifier is not None
            and validation_classifier.leave_one_out.deviations_above_chance > MIN_CERTAIN
        )
        if is_sufficient and not _is_learned(case):
            findings.append(_unrelated_labels("train", train_classifier))
    elif not findings and validation is not None and validation_classifier is not None:
        findings += _findings_of_random_fraction(
            "train",
            train_classifier.leave_one_out,
            count_correct(
                train_classifier.predict(validation.x[validation_classifier.indices]), validation_classifier.y
            ),
        )
    if validation is None or validation_classifier is None:
        return findings
    if offset_findings := _findings_of_offset(case, "validation", validation, validation_classifier):
        return findings + offset_findings
    if validation_classifier.leave_one_out.deviations_above_chance < MAX_CHANCE:
        if train_classifier.correct_count_of_size(
            len(validation_classifier.y)
        ).deviations_above_chance > MIN_CERTAIN and not _is_learned(case):
            findings.append(_unrelated_labels("validation", validation_classifier))
    else:
        findings += _findings_of_random_fraction(
            "validation",
            validation_classifier.leave_one_out,
            count_correct(validation_classifier.predict(case.train.x[train_classifier.indices]), train_classifier.y),
        )
    return findings


def _large_enough(classifier: KernelClassifier | None) -> KernelClassifier | None:
    """Return the classifier if it is fitted to enough examples of more than one class; else None."""
    if classifier is None or len(classifier.y) < MIN_EXAMPLES:
        return None
    return classifier if len(classifier.y) - int(classifier.y.bincount().max()) >= MIN_OTHER_CLASSES else None


def _is_learned(case: Case) -> bool:
    """Return whether the network predicts most validation examples correctly, which proves that labels fit inputs."""
    _, validation = case.class_predictions or (None, None)
    if validation is None:
        return False
    counts = count_correct(validation.classes, validation.part.y)
    return counts.accuracy > 0.5 + counts.chance / 2 and counts.deviations_above_chance > MIN_CERTAIN


def _random_fraction(same_data: CorrectCount, other_data: CorrectCount) -> float:
    """Return the estimated fraction of random labels in the training or validation data; 0 if it may be chance.

    same_data, other_data: the results of a classifier fitted to these labels, on the same data and on the other data
    set. If some of the labels are random, the accuracy is lower on the same data than on the other data set.
    """
    above_chance = other_data.accuracy - other_data.chance
    std = (
        same_data.accuracy * (1 - same_data.accuracy) / same_data.n
        + other_data.accuracy * (1 - other_data.accuracy) / other_data.n
    ) ** 0.5
    if above_chance <= 0 or other_data.accuracy - same_data.accuracy < MIN_CERTAIN * std:
        return 0.0
    return 1 - max(same_data.accuracy - same_data.chance, 0.0) / above_chance


def _unrelated_labels(path: str, classifier: KernelClassifier) -> Finding:
    cause = "inputs and labels were sorted, shuffled or filtered separately, so they no longer belong together"
    fix = "read each input and its label from one list, shuffle both in the same order, and look at some of them"
    return Finding(NAME, path, _accuracy_evidence(classifier.leave_one_out), cause, fix)


def _findings_of_offset(case: Case, path: str, part: Arrays, classifier: KernelClassifier) -> list[Finding]:
    """Look for labels that are predicted far better after they are shifted by a few positions in the list.

    In a list sorted by class, some labels are correct for any small shift.
    """
    if _is_learned(case):
        return []
    best_shift, best_count = 0, classifier.leave_one_out
    for shift in (*range(1, MAX_ROLL + 1), *range(-1, -MAX_ROLL - 1, -1)):
        y = part.y.roll(shift)[classifier.indices]
        shifted_count = count_correct(classifier.predictions_for_labels(y), y)
        if shifted_count.accuracy > best_count.accuracy:
            best_shift, best_count = shift, shifted_count
    if _random_fraction(classifier.leave_one_out, best_count) <= MAX_RANDOM:
        return []

    def with_labels_moved_back(part: Arrays) -> Arrays:
        return replace(part, y=part.y.roll(best_shift))

    def with_remedy(case: Case) -> Case:
        return (
            replace(case, train=with_labels_moved_back(case.train))
            if path == "train"
            else with_validation(case, with_labels_moved_back)
        )

    evidence: Evidence = {
        **_accuracy_evidence(classifier.leave_one_out),
        "labels_moved_by": best_shift,
        "right_then": best_count.accuracy,
    }
    cause = (
        f"each label belongs to the input {abs(best_shift)} {'before' if best_shift < 0 else 'after'} it in the list"
    )
    fix = "align labels and inputs again, and read both from one list"
    return [Finding(NAME, path, evidence, cause, fix, Remedy(f"labels moved by {best_shift} places", with_remedy))]


def _accuracy_evidence(count: CorrectCount) -> Evidence:
    return {
        "examples": count.n,
        "right_by_a_simple_classifier": count.accuracy,
        "right_by_chance": count.chance,
        "above_chance_in_standard_deviations": count.deviations_above_chance,
    }


def _findings_of_random_fraction(path: str, same_data: CorrectCount, other_data: CorrectCount) -> list[Finding]:
    random_fraction = _random_fraction(same_data, other_data)
    if random_fraction <= MAX_RANDOM:
        return []
    evidence: Evidence = {
        "examples": same_data.n,
        "right_by_a_simple_classifier": same_data.accuracy,
        "right_on_the_other_part": other_data.accuracy,
        "right_by_chance": same_data.chance,
        "share_of_labels_without_sense": random_fraction,
    }
    cause = "some of the labels no longer belong to their inputs, as if one of several files had been reordered"
    fix = "find out which files or batches the wrong labels come from, and read them again with their inputs"
    return [Finding(NAME, path, evidence, cause, fix)]


NAME = "shuffled-labels"
CHECK = Check(
    NAME, find, examples=MIN_EXAMPLES, finds_faults=True,
    explains=("confused-labels", "label-noise", "overfitting", "underfitting", "miscalibration",
              "collapsed-predictions", "learning-rate-too-low", "update-ratio", "useless-maps"),
)  # fmt: skip
