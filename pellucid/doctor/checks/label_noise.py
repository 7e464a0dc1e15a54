"""Wrong labels of single training examples, if they are about 5 % of all labels or more."""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.doctor.case import Case, predictions
from pellucid.doctor.finding import Check, Finding
from pellucid.doctor.inputs import select
from pellucid.doctor.rehearsal import RehearsalSettings
from pellucid.doctor.remedies import small_network

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
MAX_STEPS, MAX_WORK = 300, 2e11  # multiply-adds, for the small network on each half
MAX_SHOWN = 5  # examples


def find(case: Case) -> list[Finding]:
    """Compare labels with the most confident predictions of classifiers that were not trained on them.

    A classifier's own errors mostly have a low confidence, so labels that differ from confident predictions are wrong
    (Northcutt, Jiang and Chuang 2021, "Confident learning"). The first classifier is `Case.simple_classifier`. If
    its predictions differ from too many labels, the second is a small network that is trained on the other half of the
    examples. Each fraction of differing labels is an upper bound of the noise, so the lower one is reported. If both
    differ as by chance between pairs of classes, the inputs do not distinguish these classes.
    """
    error_rate_of_model = _error_rate_of_model(case)  # for inputs that may change, which nobody knows by heart
    case = case.judged
    simple = case.simple_classifier
    if simple is None or len(simple.y) < MIN_EXAMPLES:
        return []
    disagreements = [_disagreements(simple.indices, simple.leave_one_out_scores, simple.y)]
    if disagreements[0].is_significant:
        disagreements.append(_network_disagreements(case))
    lowest_noise = min(disagreements, key=lambda one: one.fraction)
    if not lowest_noise.is_significant or lowest_noise.fraction > MAX_ABOVE_MODEL * error_rate_of_model:
        return []
    most_second = max(disagreements, key=lambda one: one.second_fraction)
    if lowest_noise.fraction >= MIN_INDISTINCT and most_second.second_fraction >= MIN_SECOND:
        return [_indistinct_classes(case, most_second)]
    return [
        Finding(
            NAME,
            "train",
            evidence={
                "judged_by": "a simple classifier" if lowest_noise is disagreements[0] else "a small network",
                "examples": lowest_noise.n,
                "contradicted_labels": len(lowest_noise.indices),
                "share": lowest_noise.fraction,
                "for_example": ", ".join(map(str, lowest_noise.indices[:MAX_SHOWN].tolist())),
            },
            cause=f"about {100 * lowest_noise.fraction:.0f} % of the training labels are wrong",
            fix="look at the listed examples first, and correct or remove wrong labels",
        )
    ]


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
    data = case.train
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(case.model.seed))[:MAX_EXAMPLES]
    halves = order[::2], order[1::2]
    scores: list[Tensor] = []
    for fit_indices, score_indices in (halves, halves[::-1]):
        fit_case = replace(case, train=select(data, fit_indices), validation=None)
        try:
            rehearsal = small_network(fit_case).rehearse(RehearsalSettings(MAX_STEPS, work=MAX_WORK, compressed=True))
        except PellucidError:
            rehearsal = None
        if rehearsal is None or rehearsal.has_failed:
            return _Disagreements(1, order[:0], order[:0])
        scores.append(predictions(rehearsal.model, select(data, score_indices)).y)
    indices = torch.cat(halves[::-1])
    return _disagreements(indices, torch.cat(scores), data.y[indices])


NAME, INDISTINCT = "label-noise", "indistinct-classes"
CHECK = Check(NAME, find, explains=("overfitting",), examples=MIN_EXAMPLES, finds_faults=True)
