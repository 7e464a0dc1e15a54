"""A trained model that gives one answer, or a few, to nearly everything."""

from torch import Tensor

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding
from pellucid.doctor.measure.answered import answered
from pellucid.doctor.measure.answers import Answers
from pellucid.doctor.measure.learners import learners
from pellucid.tree import flatten

NEARLY = 0.95  # of the examples
FEW = 1 / 3  # of the classes that make up as much of the labels
ENOUGH = 20  # examples


def look(case: Case) -> list[Finding]:
    """Compare the classes that the model answers with those of the labels, over a sample of each part."""
    both = answered(case)
    if both is None:
        return []
    for path, seen in zip(("train", "validation"), both, strict=True):
        if seen is not None and (finding := _one(case, path, seen)) is not None:
            return [finding]  # it is one fault, in whichever part it shows
    return []


def _one(case: Case, path: str, seen: Answers) -> Finding | None:
    y = seen.part.y
    if len(y) < ENOUGH:
        return None
    told = seen.classes
    several, few = _cover(y), _cover(told)
    if several < 2 or few > max(1.0, several * FEW):
        return None
    top, times = told.mode().values, int((told == told.mode().values).sum())
    flat = flatten(case.model.params)
    lost = next((layer for layer, weight in learners(case.model) if not bool(flat[weight].any())), None)
    cause = "" if lost is None else f"the weight of {lost} is 0, so that its units answer the same to every input"
    fix = "" if lost is None else f"load or draw the weight of {lost} anew, and find out what set it to 0"
    return Finding(
        NAME,
        path,
        {
            "examples": len(y),
            "classes_that_95_percent_of_labels_have": several,
            "classes_that_95_percent_of_answers_have": few,
            "commonest_answer": case.class_name(int(top)),
            "its_share_of_the_answers": times / len(y),
            "its_share_of_the_labels": float((y == top).float().mean()),
            "accuracy": seen.accuracy,
        },
        cause,
        fix,
        proven=lost is not None,
    )


def _cover(y: Tensor) -> int:
    """Return how many classes, the commonest first, make up NEARLY all."""
    counts = y.bincount().sort(descending=True).values
    return int((counts.cumsum(0) < NEARLY * len(y)).sum()) + 1


NAME = "collapsed-predictions"
CHECK = Check(
    NAME,
    "The model answers one or few classes to nearly everything.",
    look,
    explains=("underfitting", "miscalibration", "useless-maps"),
    examples=ENOUGH,
    trained=True,
)
