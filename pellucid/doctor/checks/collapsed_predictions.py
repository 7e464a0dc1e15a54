"""A trained model that predicts one class, or a few, for nearly all examples."""

from torch import Tensor

from pellucid.doctor.case import Case, Predictions
from pellucid.doctor.finding import Check, Evidence, Finding

COVERED_FRACTION = 0.95  # of the examples, which must belong to the counted classes
MAX_RATIO = 1 / 3  # number of predicted classes divided by the number of classes among the labels
MIN_EXAMPLES = 20


def find(case: Case) -> list[Finding]:
    """Compare the numbers of classes among predictions and labels, in samples of the training and validation data."""
    for path, predictions in zip(("train", "validation"), case.class_predictions or (), strict=False):
        if predictions is not None and (finding := _collapse_finding(case, path, predictions)) is not None:
            return [finding]
    return []


def _collapse_finding(case: Case, path: str, predictions: Predictions) -> Finding | None:
    y, predicted = predictions.part.y, predictions.classes
    if len(y) < MIN_EXAMPLES:
        return None
    n_labels, n_predicted = _n_covering_classes(y), _n_covering_classes(predicted)
    if n_labels < 2 or n_predicted > max(1.0, n_labels * MAX_RATIO):
        return None
    top_class = predicted.mode().values
    evidence: Evidence = {
        "examples": len(y),
        "classes_that_95_percent_of_labels_have": n_labels,
        "classes_that_95_percent_of_answers_have": n_predicted,
        "commonest_answer": case.class_name(int(top_class)),
        "its_share_of_the_answers": int((predicted == top_class).sum()) / len(y),
        "its_share_of_the_labels": float((y == top_class).float().mean()),
        "accuracy": predictions.accuracy,
    }
    return Finding(NAME, path, evidence)


def _n_covering_classes(y: Tensor) -> int:
    """Return how many of the most frequent classes cover at least the fraction COVERED_FRACTION of the labels y."""
    counts = y.bincount().sort(descending=True).values
    return int((counts.cumsum(0) < COVERED_FRACTION * len(y)).sum()) + 1


NAME = "collapsed-predictions"
CHECK = Check(
    NAME, find, examples=MIN_EXAMPLES, trained=True,
    explains=("underfitting",),
)  # fmt: skip
