"""Batch normalization with running statistics that differ from the data's."""

from dataclasses import replace
from math import exp, log, sqrt

from pellucid.combine.base import join, walk
from pellucid.doctor.case import Case, predictions
from pellucid.doctor.finding import Check, Evidence, Finding, Remedy
from pellucid.doctor.passes import normalized_moments, with_batch_statistics
from pellucid.doctor.remedies import with_initial_model, with_layers
from pellucid.layers import BatchNorm, Layer
from pellucid.metrics import classes_of
from pellucid.nested import flatten
from pellucid.training.model import BaseModel

USUAL_MOMENTUM = 0.1  # of running statistics
# Limits for the medians over channels of |mean| and |log variance| after normalization; in healthy trainings, both end
# within 0.02. Above a limit, there is a finding
# only if the predictions are worse as well.
MAX_SHIFT = 0.2  # standard deviations: a "small" effect (Cohen 1988)
MAX_SPREAD = log(1.25)
# The limits for frozen layers, for which the loss is not checked, because other layers compensate for them in training.
MAX_FROZEN_SHIFT = 1.0
MAX_FROZEN_SPREAD = log(4.0)
MIN_STD = 1e-3  # after normalization; channels with a smaller one are constant, such as at an empty border, and skipped
MIN_DEVIATIONS = 4.0  # standard deviations of the change in the number of correct predictions (McNemar's test)
MIN_GAIN = 0.02  # increase of the fraction of correct predictions
HIGH_MOMENTUM = 0.5  # from this momentum on, the last batch has at least the weight of all others together


def find(case: Case) -> list[Finding]:
    """Compare the moments of normalized outputs with 0 and 1; report only the first layer whose statistics differ."""
    if not case.trained:
        return []
    layers = dict(walk(case.model.net))
    for path, (mean, std) in normalized_moments(case.model, case.inputs(case.sample)).items():
        layer = layers[path]
        varying = std > MIN_STD
        if not isinstance(layer, BatchNorm) or not bool(varying.any()) or not bool(mean.isfinite().all()):
            continue
        shift = float(mean[varying].abs().median())
        spread = float(std[varying].square().log().abs().median())
        is_frozen = {join(path, "weight"), join(path, "bias")} <= case.model.frozen
        limits = (MAX_FROZEN_SHIFT, MAX_FROZEN_SPREAD) if is_frozen else (MAX_SHIFT, MAX_SPREAD)
        if shift <= limits[0] and spread <= limits[1]:
            continue
        evidence: Evidence = {
            "mean_off_by_standard_deviations": shift,
            "variance_off_by_factor": exp(spread),
            "momentum": layer.momentum,
        }
        if not is_frozen:
            return _finding_if_harmful(case, path, layer, evidence)
        if not _has_initial_statistics(case.model, path, layer):
            return []
        return [
            Finding(
                NAME,
                path,
                evidence,
                cause="the frozen layer has the initial running statistics, mean 0 and variance 1: those that belong "
                "to its weights were not saved or not loaded",
                fix="load the running statistics together with the weights, or unfreeze the batch normalization",
                remedy=Remedy(
                    "batch normalization unfrozen",
                    lambda case: with_initial_model(case, _unfreeze_norms),
                    "unfrozen-norms",
                ),
            )
        ]
    return []


def _has_initial_statistics(model: BaseModel, path: str, layer: BatchNorm) -> bool:
    """Return whether the running means are all 0 and the running variances all 1."""
    weights = flatten(model.params)
    mean, variance = (weights[join(path, name)] for name in layer.buffers[:2])
    return not bool(mean.any()) and bool((variance == 1).all())


def _finding_if_harmful(case: Case, path: str, layer: BatchNorm, evidence: Evidence) -> list[Finding]:
    """Return the finding if the running statistics are those of the last batch, which makes the predictions worse."""
    if layer.momentum < HIGH_MOMENTUM or not _is_better_by_batch(case):
        return []
    return [
        Finding(
            NAME,
            path,
            evidence,
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


def _unfreeze_norms(model: BaseModel) -> None:
    norms = {path for path, layer in walk(model.net) if isinstance(layer, BatchNorm)}
    model.frozen = {path for path in model.frozen if path.rpartition(".")[0] not in norms}


NAME = "batch-norm"
CHECK = Check(
    NAME, find, finds_faults=True,
    explains=("overfitting", "underfitting"),
)  # fmt: skip
