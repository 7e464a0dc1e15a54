"""A trained model that predicts one class, or a few, for nearly everything."""

from torch import Tensor

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding
from pellucid.doctor.passes import trainable_layers
from pellucid.doctor.predictions import Predictions
from pellucid.tree import flatten

NEARLY = 0.95  # of the examples
FEW = 1 / 3  # of the classes that make up as much of the labels
MIN_EXAMPLES = 20


def look(case: Case) -> list[Finding]:
    """Compare the predicted classes with those of the labels, over a sample of each part."""
    for path, seen in zip(("train", "validation"), case.class_predictions or (), strict=False):
        if seen is not None and (finding := _collapsed(case, path, seen)) is not None:
            return [finding]  # it is one fault, in whichever part it shows
    return []


def _collapsed(case: Case, path: str, seen: Predictions) -> Finding | None:
    y, predicted = seen.part.y, seen.classes
    if len(y) < MIN_EXAMPLES:
        return None
    several, few = _cover(y), _cover(predicted)
    if several < 2 or few > max(1.0, several * FEW):
        return None
    top = predicted.mode().values
    evidence: Evidence = {
        "examples": len(y),
        "classes_that_95_percent_of_labels_have": several,
        "classes_that_95_percent_of_answers_have": few,
        "commonest_answer": case.class_name(int(top)),
        "its_share_of_the_answers": int((predicted == top).sum()) / len(y),
        "its_share_of_the_labels": float((y == top).float().mean()),
        "accuracy": seen.accuracy,
    }
    flat = flatten(case.model.params)
    lost = next((layer for layer, weight in trainable_layers(case.model) if not bool(flat[weight].any())), None)
    if lost is None:
        return Finding(NAME, path, evidence)
    cause = f"the weight of {lost} is 0, so that its units answer the same to every input"
    fix = f"load or draw the weight of {lost} anew, and find out what set it to 0"
    return Finding(NAME, path, evidence, cause, fix, proven=True)


def _cover(y: Tensor) -> int:
    """Return how many classes, the commonest first, make up NEARLY all."""
    counts = y.bincount().sort(descending=True).values
    return int((counts.cumsum(0) < NEARLY * len(y)).sum()) + 1


NAME = "collapsed-predictions"
CHECK = Check(
    NAME, look, examples=MIN_EXAMPLES, trained=True,
    explains=("underfitting", "miscalibration", "useless-maps"),
)  # fmt: skip
