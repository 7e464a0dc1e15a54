"""A model that does worse on its own training examples than a simple method does on new ones."""

from math import sqrt

from torch import Tensor

from pellucid.data.source import Arrays
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding, Number
from pellucid.doctor.measure.answers import Answers, answers
from pellucid.doctor.measure.backward import rms
from pellucid.doctor.measure.columns import column
from pellucid.doctor.measure.learners import finals, learners
from pellucid.doctor.measure.reference import linear_error
from pellucid.tree import flatten

BEHIND = 0.1  # of accuracy: beyond what kinds of classifiers differ by on their own ground
SURE = 3.0  # standard deviations of the difference of two shares
CLEAR = 5.0  # above chance, of the simple classifier: there is something to learn
WORSE = 1.5  # times the error of linear regression
FLOOR = 0.01  # of the targets' variance: where linear regression leaves nothing, no multiple of it says much
STILL = 1e-12  # of the targets' mean square: the rounding of targets that are all the same
TOLD = 0.5  # of the targets' variance that linear regression leaves at most
ENOUGH = 50  # examples


def look(case: Case) -> list[Finding]:
    """Compare the trained model with a kernel classifier, or with linear regression."""
    if not case.trained or case.reached == float("inf"):
        return []
    evidence = _classes(case) if case.classifies else _numbers(case)
    if evidence is None:
        return []
    losses = column(case.history, "train_loss")
    weights = [path for _, path in learners(case.model)]
    now, then = flatten(case.model.params), flatten(case.first.params)
    size = sum(rms(now[path]) for path in weights) / (sum(rms(then[path]) for path in weights) or 1.0)
    if not losses and case.go_on:
        evidence["epochs"] = 0
        evidence["steps"] = case.steps_made
        evidence["steps_of_the_training"] = case.steps_planned
    elif losses or case.epochs:
        evidence["epochs"] = len(losses) or case.epochs
    inner = _inner(case)
    if inner:
        evidence["units_of_the_narrowest_layer"] = min(inner)
    if case.model.regularizers:
        evidence["weights_over_first_weights"] = size
    if not losses and case.go_on:
        cause, fix = "the training was cut short before its first epoch was done", f"go on with `{case.go_on}`"
        return [Finding(NAME, "train", evidence, cause, fix, proven=True)]
    return [Finding(NAME, "train", evidence)]


def _inner(case: Case) -> list[int]:
    """Return the units of each layer that learns, but for those that answer: how many these have, the targets say."""
    ends = finals(case.model, case.inputs(case.probe))
    now = flatten(case.model.params)
    return [len(now[weight]) for path, weight in learners(case.model) if path not in ends]


def _classes(case: Case) -> dict[str, Number] | None:
    simple = case.simple
    if simple is None or len(simple.y) < ENOUGH or simple.own.above < CLEAR:
        return None
    part = Arrays(case.train.x[simple.places], simple.y, None, "")
    own, other, n = _among(answers(case.model, part), simple.classes), simple.own.share, len(simple.y)
    spread = sqrt(max(own * (1 - own) + other * (1 - other), 1 / n) / n)
    if other - own <= max(BEHIND, SURE * spread):
        return None
    return {"train_accuracy": own, "accuracy_of_a_simple_classifier_on_new_examples": other, "examples": n}


def _among(said: Answers, classes: Tensor) -> float:
    """Return the accuracy where no other classes (K,) may be answered, as the simple classifier is asked."""
    if said.y.shape[1] == 1:
        return said.accuracy
    return (classes[said.y[:, classes].argmax(1)] == said.part.y).float().mean().item()


def _numbers(case: Case) -> dict[str, Number] | None:
    part, said = case.sample, case.seen.y
    if not case.compares or len(part) < ENOUGH or said.numel() != part.y.numel():
        return None
    target = part.y.double().reshape(said.shape)
    own = (said - target).square().mean().item()
    linear, variance = linear_error(case.inputs(part), part.y), target.var(0, correction=0).mean().item()
    if variance <= STILL * target.square().mean().item():
        return None  # there is nothing to tell apart
    if linear > TOLD * variance or own <= max(WORSE * linear, FLOOR * variance):
        return None
    return {
        "train_squared_error": own,
        "error_of_linear_regression_on_new_examples": linear,
        "variance": variance,
        "examples": len(part),
    }


NAME = "underfitting"
CHECK = Check(
    NAME,
    "The model does worse on its training examples than a simple method does on new ones.",
    look,
    examples=ENOUGH,
    trained=True,
)
