"""The finding for a training that does well when it is made once more, so that its settings are not the cause."""

import torch

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Evidence, Finding

MIN_SKEW = 0.25  # total variation distance between the classes of the predictions and of the labels
MIN_ACCURACY = 0.5  # on validation data in the last epoch; above it, the order of the examples is not the cause


def finding_of_other_weights(case: Case, score: float, rehearsed_score: float) -> Finding | None:
    """Return the finding for a training whose score is lower than when it is made once more, if predictions are skewed.

    The cause is then the order of the examples. score, rehearsed_score: of the present model, and of the model that was
    trained once more.
    """
    evidence: Evidence = {"score": score, "score_of_the_same_training_rehearsed": rehearsed_score}
    skew_evidence = _skew_evidence(case) if case.classifies else None
    if skew_evidence is not None:
        return Finding(
            "examples-in-order", "training", evidence | skew_evidence,
            "in random order the same training does well, and the model prefers some classes, as it does if examples "
            "come class after class",
            "train on all examples in one call of fit, which shuffles them, not on one class or file after the other",
            is_fault=True,
        )  # fmt: skip
    return None


def epoch_steps(case: Case) -> float:
    """Return the mean number of steps of the epochs in the history; that of all batches without a history."""
    return case.steps_per_epoch if case.history is None else case.steps_made / max(len(case.history), 1)


def finding_of_short_epochs(case: Case, score: float, rehearsed_score: float) -> Finding:
    """Return the finding for a training with fewer steps in an epoch than the data have batches.

    score: of the present model. rehearsed_score: of a training with as many steps on batches of all examples.
    """
    steps_per_epoch = epoch_steps(case)
    return Finding(
        "short-epochs", "training",
        {"score": score, "score_with_batches_of_all_examples": rehearsed_score, "steps": case.steps_made},
        f"an epoch has {steps_per_epoch:g} of {case.steps_per_epoch} batches, and with batches of all examples as many "
        "steps do well, so the training saw only some of the examples, as it does if each epoch begins with the same "
        "batches",
        "go through all examples in an epoch, or let an epoch go on where the last one ended", is_fault=True,
    )  # fmt: skip


def _skew_evidence(case: Case) -> Evidence | None:
    """Return the evidence if the model predicts some classes far too often, as after training on sorted examples.

    None if it does not, or if the history has a validation accuracy above MIN_ACCURACY in the last epoch.
    """
    predictions, val_accuracies = case.class_predictions, case.column("val_accuracy")
    if predictions is None:
        return None
    predicted, y = predictions[0].classes, predictions[0].part.y
    count = int(torch.maximum(predicted.max(), y.max())) + 1
    predicted_fractions, label_fractions = (
        labels.bincount(minlength=count).double() / len(y) for labels in (predicted, y)
    )
    excess = float((predicted_fractions - label_fractions).clamp_min(0).sum())  # the total variation distance
    if excess < MIN_SKEW or (val_accuracies and val_accuracies[-1] > MIN_ACCURACY):
        return None
    return {
        "commonest_answer": case.class_name(int(predicted_fractions.argmax())),
        "its_share_of_the_answers": float(predicted_fractions.max()),
        "its_share_of_the_examples": float(label_fractions[predicted_fractions.argmax()]),
        "answers_of_classes_beyond_their_share": excess,
    }
