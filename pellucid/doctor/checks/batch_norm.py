"""Batch normalization whose running statistics are those of the last batch."""

from dataclasses import replace
from math import sqrt

from pellucid.combine.base import join
from pellucid.doctor.case import Case, predictions
from pellucid.doctor.finding import Check, Finding, Remedy
from pellucid.doctor.passes import leaves, with_batch_statistics
from pellucid.doctor.remedies import with_layers
from pellucid.layers import BatchNorm, Layer
from pellucid.metrics import classes_of

USUAL_MOMENTUM = 0.1  # of running statistics
HIGH_MOMENTUM = 0.5  # from this momentum on, the last batch has at least the weight of all others together
MIN_DEVIATIONS = 4.0  # standard deviations of the change in the number of correct predictions (McNemar's test)
MIN_GAIN = 0.02  # increase of the fraction of correct predictions


def find(case: Case) -> list[Finding]:
    """Compare predictions by batch statistics with those by running statistics of a high momentum."""
    momentums = {
        path: layer.momentum
        for path, layer in leaves(case.model.net)
        if isinstance(layer, BatchNorm)
        and layer.momentum >= HIGH_MOMENTUM
        and not {join(path, "weight"), join(path, "bias")} <= case.model.frozen
    }
    if not momentums or not _is_better_by_batch(case):
        return []
    path, momentum = next(iter(momentums.items()))
    return [
        Finding(
            NAME,
            path,
            {"momentum": momentum},
            cause="with this momentum the running statistics are those of the last batch; in some libraries the "
            "momentum is the weight of the old statistics instead",
            fix="use a momentum of 0.1, which is the weight of the new batch here",
            remedy=Remedy("a momentum of 0.1", lambda case: with_layers(case, _with_usual_momentum), "usual-momentum"),
        )
    ]


def _is_better_by_batch(case: Case) -> bool:
    """Return whether batch statistics give significantly more correct predictions; False unless the case classifies.

    McNemar 1947.
    """
    sample, loss = case.validation_sample or case.sample, case.model.loss
    if not case.classifies:
        return False
    batch_outputs = loss.predict(loss.main_output(with_batch_statistics(case.model, case.inputs(sample))))
    before, after = predictions(case.model, sample).classes == sample.y, classes_of(batch_outputs) == sample.y
    corrected, broken = int((after & ~before).sum()), int((before & ~after).sum())
    return corrected - broken >= max(MIN_GAIN * len(before), MIN_DEVIATIONS * sqrt(corrected + broken))


def _with_usual_momentum(layer: Layer) -> Layer:
    return replace(layer, momentum=USUAL_MOMENTUM) if isinstance(layer, BatchNorm) else layer


NAME = "batch-norm"
CHECK = Check(
    NAME, find, trained=True, finds_faults=True, explains=("overfitting", "underfitting"),
)  # fmt: skip
