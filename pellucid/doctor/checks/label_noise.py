"""Wrong labels of training examples, if they are about 5 % of all labels or more: at random, or by another order."""

from collections.abc import Callable
from dataclasses import replace
from statistics import fmean
from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.doctor.case import Case, predictions
from pellucid.doctor.finding import Check, Evidence, Finding
from pellucid.doctor.inputs import select
from pellucid.doctor.rehearsal import RehearsalSettings
from pellucid.doctor.remedies import small_network
from pellucid.metrics.functions import confusion_matrix

MIN_EXAMPLES = 400
MAX_EXAMPLES = 2_000  # for the small network
JUDGED_FRACTION = 0.4  # of the examples: the most confident predictions, which are compared with the labels
# Fraction of these predictions that differ from the label; large data sets have up to 10 % wrong labels among all
# examples (Northcutt, Athalye and Mueller 2021, "Pervasive label errors").
MAX_NOISE = 0.03
MIN_DEVIATIONS = 3.0  # standard deviations by which the fraction must exceed MAX_NOISE
# If classes overlap, predictions differ from correct labels too. Then the label is usually the second most probable
# class, and the error rate on all examples is much higher. So differences are label noise only if the label is not the
# second class for more than the fraction MAX_NOT_SECOND of them (with MIN_CLASSES classes or more), or if the error
# rate on all examples is higher by less than MAX_ERROR_RISE.
MIN_CLASSES, MAX_NOT_SECOND = 4, 0.3
MAX_ERROR_RISE = 0.06
# Among the more confident half of these predictions, wrong labels are about as frequent, but a classifier's own errors
# are rarer. So the error rate of that half, divided by the error rate of these predictions, must reach MIN_TOP_RATIO.
# The error rate on all examples may be higher by at most MAX_TOP_DIFFERENCE; otherwise, the classifier is inaccurate.
MIN_TOP_RATIO, MAX_TOP_DIFFERENCE = 0.6, 0.15
# If predictions contradict as many labels as by chance between two classes, and the label is then nearly always the
# second class, the inputs do not show what distinguishes these classes.
MIN_INDISTINCT, MIN_SECOND = 0.4, 0.85
# Labels that a trained model predicts without knowing them by heart are right, however few the classifiers here predict
# from single readings of strongly augmented images. So the noise is at most about the error rate of such a model.
MAX_ABOVE_MODEL = 1.5
# The training itself, on a half of the examples, judges labels if its model predicts validation examples better than a
# simple classifier does by MIN_BETTER. Many labels are wrong only if the model contradicts the fraction MIN_WRONG or
# more of the validation labels where it predicts a class most confidently. Among the most confident fifth of the judged
# ones, that fraction must be as high with MIN_DEVIATIONS, and at least MIN_EVEN of that among all (0.2 to 0.5 in sound
# trainings with enough errors); among all confident ones, it is at most MAX_WRONG: more show a bad classifier.
MIN_BETTER, MIN_WRONG, MIN_EVEN, MAX_WRONG = 0.05, 0.1, 0.6, 0.55
# Labels of which another classifier contradicts more than the fraction MAX_BY_OTHERS show that it is a bad one.
MAX_BY_OTHERS = 0.5
MIN_ABOVE_IGNORANCE = 2.0  # contradicted labels, relative to the accuracy that a training on half of the data lacks
# Mean place of the contradicted label among the other classes by score, from 0 for the second class to 1 for the last.
# It is 0.5 for labels that are wrong at random, and below 0.3 in 20 sound trainings.
MIN_PLACE = 0.36
# If a list is sorted otherwise or shifted, the fraction MIN_NEIGHBOURS or more of the contradicted labels are those of
# a neighbouring class, and MIN_PAIRS of the pairs of neighbours are contradicted in one direction more often than in
# the other, by two standard deviations; the chi-squared statistic of all pairs exceeds its mean by
# MIN_ORDER_DEVIATIONS standard deviations. Similar classes are mistaken for each other in both directions.
MIN_NEIGHBOURS, MIN_PAIRS, MIN_ORDER_DEVIATIONS = 0.6, 2, 4.0
MAX_STEPS, MAX_WORK = 300, 2e11  # multiply-adds, for the network on each half
MAX_SHOWN = 5  # examples
SIMPLE, TRAINING = "a simple classifier", "the training on the other half"


class _Scored(NamedTuple):
    """The indices of examples, (n,), their class scores, (n, K), and their labels, (n,)."""

    indices: Tensor
    scores: Tensor
    y: Tensor

    @property
    def accuracy(self) -> float:
        """The fraction of the examples whose label has the highest score."""
        return float((self.scores.argmax(1) == self.y).double().mean())


def find(case: Case) -> list[Finding]:
    """Compare labels with the most confident predictions of classifiers that were not trained on them.

    A classifier's own errors mostly have a low confidence, so labels that differ from confident predictions are wrong
    (Northcutt, Jiang and Chuang 2021, "Confident learning"). The first classifier is `Case.simple_classifier`. If
    its predictions differ from too many labels, the second is a small network that is trained on the other half of the
    examples. Each fraction of differing labels is an upper bound of the noise, so the lower one is reported. If both
    differ as by chance between pairs of classes, the inputs do not distinguish these classes. If the trained model is
    better than the simple classifier, the third is its own training on the other half.
    """
    error_rate_of_model = _error_rate_of_model(case)  # for inputs that may change, which nobody knows by heart
    judged = case.judged
    simple = judged.simple_classifier
    if simple is None or len(simple.y) < MIN_EXAMPLES:
        return []
    accuracy, contradicts = _validation_accuracy(case)
    simple_accuracy, steps = simple.leave_one_out.accuracy, min(judged.steps_to_repeat // 2, MAX_STEPS)
    is_better = accuracy >= simple_accuracy + MIN_BETTER and judged.trainable and steps > 0
    has_indices = any(case.model.index_inputs)  # such as tokens, of which only the training itself knows enough
    scored, own_accuracy = _Scored(simple.indices, simple.leave_one_out_scores, simple.y), accuracy
    judge, judges, disagreements = SIMPLE, [SIMPLE], [_disagreements(*scored)]
    if disagreements[0].is_significant and (is_better or not has_indices):
        judges.append("a small network")
        disagreements.append(_network_disagreements(judged))
    if is_better and (contradicts or all(one.is_significant for one in disagreements)):
        own = _cross_fitted(judged, lambda half: half, steps)
        # a long training may know little after few steps
        if own is not None and own[0].accuracy > simple_accuracy:
            judge, (scored, own_accuracy) = TRAINING, own
            judges.append(judge)
            disagreements.append(_disagreements(*scored))
    # half of the examples may teach too little, which validation labels show
    lacked = MIN_ABOVE_IGNORANCE * (accuracy - own_accuracy)
    if disagreements[-1].fraction < lacked if judge == TRAINING else has_indices:
        return []
    max_noise = MAX_ABOVE_MODEL * error_rate_of_model
    if contradicts and (found := _many_wrong_labels(judge, max_noise, *scored)):
        return found
    lowest = min(range(len(judges)), key=lambda k: disagreements[k].fraction)
    lowest_noise = disagreements[lowest]
    if not lowest_noise.is_significant or lowest_noise.fraction > max_noise:
        return []
    most_second = max(disagreements, key=lambda one: one.second_fraction)
    if lowest_noise.fraction >= MIN_INDISTINCT and most_second.second_fraction >= MIN_SECOND:
        return [_indistinct_classes(judged, most_second)]
    is_bad_judge = judges[lowest] != TRAINING and lowest_noise.fraction > MAX_BY_OTHERS
    return [] if is_bad_judge else [_wrong_labels(judges[lowest], lowest_noise.n, lowest_noise.indices)]


def _wrong_labels(judged_by: str, n: int, indices: Tensor, neighbours: float | None = None) -> Finding:
    """Return the finding for labels that differ from n confident predictions.

    indices: of these examples. neighbours: the fraction of these labels that are those of neighbouring classes, if a
    list in another order is to blame; None otherwise.
    """
    share = len(indices) / n
    evidence: Evidence = {
        "judged_by": judged_by,
        "examples": n,
        "contradicted_labels": len(indices),
        "share": share,
        "for_example": ", ".join(map(str, indices[:MAX_SHOWN].tolist())),
    }
    if neighbours is None:
        cause = f"about {100 * share:.0f} % of the training labels are wrong"
        fix = "look at the listed examples first, and correct or remove wrong labels"
        return Finding(NAME, "train", evidence, cause, fix)
    return Finding(
        NAME, "train", {**evidence, "of_a_neighbouring_class": neighbours},
        f"{share:.0%} of the most confident predictions contradict the training labels, {neighbours:.0%} of these by "
        "one class, as where inputs and labels are listed in different orders",
        "read each input and its label by the same name, and look whether one of the lists is sorted as text (image_10 "
        "before image_2) or shifted; look at the listed examples first",
    )  # fmt: skip


def _validation_accuracy(case: Case) -> tuple[float, bool]:
    """Return the trained model's accuracy on validation data, and whether it confidently contradicts many labels."""
    _, validation = case.class_predictions or (None, None)
    if validation is None or validation.y.shape[1] < 2:
        return 0.0, False
    confident, is_wrong, _ = _by_confidence(validation.y, validation.examples.y)
    return validation.accuracy, float(is_wrong[confident].double().mean()) >= MIN_WRONG


def _by_confidence(scores: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the places of the most confident predictions of each class, which of all are wrong, and all classes.

    The places are in descending order of the rank in the predicted class. scores, y: see `_disagreements`.
    """
    top_two = scores.topk(2, dim=1)
    predicted = top_two.indices[:, 0]
    order = (top_two.values[:, 0] - top_two.values[:, 1]).argsort(descending=True)
    ranks = torch.zeros(len(y))
    for label in predicted.unique():
        members = order[predicted[order] == label]
        ranks[members] = (torch.arange(len(members)) + 0.5) / len(members)
    return ranks.argsort(stable=True)[: int(JUDGED_FRACTION * len(y))], predicted != y, predicted


def _many_wrong_labels(
    judged_by: str, max_noise: float, indices: Tensor, scores: Tensor, y: Tensor
) -> list[Finding]:  # fmt: skip
    """Find labels that are wrong at random or those of neighbouring classes, as often where predictions are confident.

    Only the training itself shows the former: a simple classifier may know too little of these inputs. max_noise: the
    largest possible fraction. indices, scores, y: see `_disagreements`.
    """
    n_classes = scores.shape[1]
    confident, is_wrong, predicted = _by_confidence(scores, y)
    contradicted = confident[is_wrong[confident]]
    n, top = len(confident), is_wrong[confident[: len(confident) // 2]].double()
    share, top_share = len(contradicted) / n, float(top.mean())
    is_certain = top_share - MIN_DEVIATIONS * (MIN_WRONG * (1 - MIN_WRONG) / len(top)) ** 0.5 > MIN_WRONG
    is_even = top_share >= MIN_EVEN * float(is_wrong.double().mean())
    if n_classes < MIN_CLASSES or not (is_certain and is_even and share <= min(MAX_WRONG, max_noise)):
        return []
    labels = y[contradicted]
    contradicted_scores = scores[contradicted]
    n_above = (contradicted_scores > contradicted_scores.gather(1, labels[:, None])).sum(1).double()
    is_own = judged_by == TRAINING
    if is_own and float(n_above.mean() - 1) >= MIN_PLACE * (n_classes - 2):
        return [_wrong_labels(judged_by, n, indices[contradicted])]
    confusion = confusion_matrix(labels, predicted[contradicted], n_classes).double()
    above, below = confusion.diagonal(1), confusion.diagonal(-1)
    squares = (above - below).square() / (above + below).clamp_min(1)
    neighbours, freedom = float((above + below).sum()) / len(contradicted), n_classes - 1
    is_ordered = float(squares.sum()) > freedom + MIN_ORDER_DEVIATIONS * (2 * freedom) ** 0.5
    if not is_ordered or int((squares >= 4).sum()) < MIN_PAIRS or neighbours < MIN_NEIGHBOURS:
        return []
    return [_wrong_labels(judged_by, n, indices[contradicted], neighbours)]


class _Disagreements(NamedTuple):
    """The labels that differ from a classifier's n most confident predictions.

    indices: the indices of these examples, in descending order of confidence. predicted: their predicted classes.
    second_fraction: the fraction of them whose label is the second class; 0 for fewer than MIN_CLASSES classes.
    """

    n: int
    indices: Tensor
    predicted: Tensor
    second_fraction: float = 0.0

    @property
    def fraction(self) -> float:
        """The fraction of the predictions that differ from the labels."""
        return len(self.indices) / self.n

    @property
    def is_significant(self) -> bool:
        """Whether the fraction is significantly higher than MAX_NOISE."""
        return self.fraction - MIN_DEVIATIONS * (MAX_NOISE * (1 - MAX_NOISE) / self.n) ** 0.5 > MAX_NOISE


def _disagreements(indices: Tensor, scores: Tensor, y: Tensor) -> _Disagreements:
    """Compare the most confident predictions with the labels.

    indices: the examples' indices in the training data, (n,). scores: the class scores, (n, K). y: the labels, (n,).
    """
    top_two = scores.topk(2, dim=1)
    is_wrong = top_two.indices[:, 0] != y
    order = (top_two.values[:, 0] - top_two.values[:, 1]).argsort(descending=True)
    most_confident = order[: int(JUDGED_FRACTION * len(y))]
    contradicted = most_confident[is_wrong[most_confident]]
    n = len(most_confident)
    error_rate, top_error_rate, overall_error_rate = (
        float(is_error.float().mean()) for is_error in (is_wrong[most_confident], is_wrong[order[: n // 2]], is_wrong)
    )
    second = float((top_two.indices[contradicted, 1] == y[contradicted]).float().mean())  # NaN without contradictions
    has_many_classes = scores.shape[1] >= MIN_CLASSES
    no_overlap = has_many_classes and 1 - second > MAX_NOT_SECOND
    is_noise = no_overlap or overall_error_rate - error_rate < MAX_ERROR_RISE
    is_even = top_error_rate >= MIN_TOP_RATIO * error_rate and overall_error_rate - top_error_rate <= MAX_TOP_DIFFERENCE
    found = contradicted if is_noise and is_even else contradicted[:0]
    return _Disagreements(n, indices[found], top_two.indices[found, 0], second if has_many_classes else 0.0)


def _error_rate_of_model(case: Case) -> float:
    """Return the part of the training labels that the trained model contradicts; 1 if it may know them by heart."""
    train, validation = case.class_predictions or (None, None)
    if train is None or validation is None or validation.accuracy < train.accuracy:
        return 1.0
    return 1 - train.accuracy


def _indistinct_classes(case: Case, disagreements: _Disagreements) -> Finding:
    """Return the finding for pairs of classes that are confused as often as by chance."""
    labels = case.train.y[disagreements.indices]
    label_pairs = torch.stack([labels, disagreements.predicted], 1).sort(1).values
    distinct_pairs, counts = label_pairs.unique(dim=0, return_counts=True)
    first, second = distinct_pairs[counts.argmax()].tolist()
    both_names = f"{case.class_name(first)} and {case.class_name(second)}"
    return Finding(
        INDISTINCT,
        "train",
        evidence={
            "examples": disagreements.n,
            "taken_for_another_class": len(labels),
            "share": disagreements.fraction,
            "label_is_the_second_answer": disagreements.second_fraction,
            "most_often": both_names,
        },
        cause=f"the inputs do not show what distinguishes some classes, such as {both_names}",
        fix="look at inputs of both classes as the network receives them: colours, size and crop must show the "
        "difference",
    )


def _network_disagreements(case: Case) -> _Disagreements:
    """Compare the labels of each half of the examples with a small network trained on the other half."""
    fitted = _cross_fitted(case, small_network, MAX_STEPS)
    nothing = torch.zeros(0, dtype=torch.long)
    return _Disagreements(1, nothing, nothing) if fitted is None else _disagreements(*fitted[0])


def _cross_fitted(case: Case, change: Callable[[Case], Case], steps: int) -> tuple[_Scored, float] | None:
    """Return examples with their class scores, by trainings on the other half of them; None if a training fails.

    And the accuracy of these trainings on the validation data, 0 without any. change: returns the case that is trained.
    """
    data = case.train
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(case.model.seed))[:MAX_EXAMPLES]
    halves = order[::2], order[1::2]
    scores: list[Tensor] = []
    accuracies: list[float] = []
    for fit_indices, score_indices in (halves, halves[::-1]):
        fit_case = replace(case, train=select(data, fit_indices), validation=None)
        try:
            rehearsal = change(fit_case).rehearse(RehearsalSettings(steps, work=MAX_WORK, compressed=True))
        except PellucidError:
            rehearsal = None
        if rehearsal is None or rehearsal.has_failed:
            return None
        scores.append(predictions(rehearsal.model, select(data, score_indices)).y)
        if case.validation is not None:
            accuracies.append(predictions(rehearsal.model, case.validation).accuracy)
    indices = torch.cat(halves[::-1])
    return _Scored(indices, torch.cat(scores), data.y[indices]), fmean(accuracies or [0.0])


NAME, INDISTINCT = "label-noise", "indistinct-classes"
CHECK = Check(NAME, find, explains=("overfitting",), examples=MIN_EXAMPLES, finds_faults=True)
