"""A model whose error on its training examples is larger than a simple method's error on held-out examples."""

from math import sqrt

from torch import Tensor

from pellucid.doctor.case import Case, Predictions, predictions
from pellucid.doctor.finding import Check, Evidence, Finding
from pellucid.doctor.inputs import linear_error, select

MIN_GAP = 0.1  # difference of accuracies; two suitable classifiers differ by less
MIN_DEVIATIONS = 3.0  # standard deviations of the difference of two accuracies
MIN_ABOVE_CHANCE = 5.0  # standard deviations of the simple classifier's accuracy above chance, so labels are learnable
MAX_ERROR_RATIO = 1.5  # relative to the error of linear regression
MIN_ERROR = 0.01  # relative to the targets' variance; smaller errors are accepted, even if linear regression has none
MIN_VARIANCE = 1e-12  # relative to the targets' mean square; below it, targets differ only by rounding errors
MAX_RESIDUAL = 0.5  # error of linear regression relative to the targets' variance; above it, there is no finding
MIN_EXAMPLES = 50


def find(case: Case) -> list[Finding]:
    """Compare the trained model with a kernel classifier or, for a regression, with linear regression."""
    if case.loss == float("inf"):
        return []
    evidence = _class_evidence(case) if case.classifies else _regression_evidence(case)
    if evidence is None:
        return []
    epochs = len(case.column("train_loss"))
    if epochs or case.epochs:
        evidence["epochs"] = epochs or case.epochs
    shown = (
        f"predicts {evidence['train_accuracy']:.0%} of its training examples, and a simple classifier "
        f"{evidence['accuracy_of_a_simple_classifier_on_new_examples']:.0%} of examples that it has not seen"
        if case.classifies else
        f"has {evidence['train_squared_error']:.2g} as its squared error on its training examples, and a linear "
        f"regression {evidence['error_of_linear_regression_on_new_examples']:.2g} on others"
    )  # fmt: skip
    return [
        Finding(
            NAME, "train", evidence,
            f"the network {shown}, so the fault is rather in the settings, the loss or the network than in the data",
            f"a learning rate ten times lower, and one ten times higher (it is {case.model.optimizer.lr:g}); more "
            "epochs; plain layers (ReLU, batch normalization) and Adam at 0.001",
        )
    ]  # fmt: skip


def _class_evidence(case: Case) -> Evidence | None:
    classifier = case.simple_classifier
    if (
        classifier is None
        or len(classifier.y) < MIN_EXAMPLES
        or classifier.leave_one_out.deviations_above_chance < MIN_ABOVE_CHANCE
    ):
        return None
    predicted = predictions(case.model, select(case.train, classifier.indices))
    accuracy, simple_accuracy = _accuracy_among(predicted, classifier.classes), classifier.leave_one_out.accuracy
    n = len(classifier.y)
    variance = accuracy * (1 - accuracy) + simple_accuracy * (1 - simple_accuracy)
    standard_error = sqrt(max(variance, 1 / n) / n)  # of the difference
    if simple_accuracy - accuracy <= max(MIN_GAP, MIN_DEVIATIONS * standard_error):
        return None
    return {
        "train_accuracy": accuracy,
        "accuracy_of_a_simple_classifier_on_new_examples": simple_accuracy,
        "examples": n,
    }


def _accuracy_among(predicted: Predictions, classes: Tensor) -> float:
    """Return the model's accuracy if its predictions are restricted to `classes`, (K,)."""
    if predicted.y.shape[1] == 1:
        return predicted.accuracy
    return (classes[predicted.y[:, classes].argmax(1)] == predicted.examples.y).float().mean().item()


def _regression_evidence(case: Case) -> Evidence | None:
    sample, y = case.sample, case.train_predictions.y
    if not case.compares or len(sample) < MIN_EXAMPLES or y.numel() != sample.y.numel():
        return None
    target = sample.y.double().reshape(y.shape)
    error = (y - target).square().mean().item()
    linear_regression_error, variance = (
        linear_error(case.inputs(sample), sample.y),
        target.var(0, correction=0).mean().item(),
    )
    if variance <= MIN_VARIANCE * target.square().mean().item() or linear_regression_error > MAX_RESIDUAL * variance:
        return None  # constant targets, or targets that depend on the inputs in another way
    if error <= max(MAX_ERROR_RATIO * linear_regression_error, MIN_ERROR * variance):
        return None
    return {
        "train_squared_error": error,
        "error_of_linear_regression_on_new_examples": linear_regression_error,
        "variance": variance,
        "examples": len(sample),
    }


NAME = "underfitting"
CHECK = Check(NAME, find, examples=MIN_EXAMPLES, trained=True)
