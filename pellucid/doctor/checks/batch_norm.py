"""Batch normalization with too few values per batch, or by running statistics that are not those of the data."""

from collections.abc import Mapping
from dataclasses import replace
from math import ceil, exp, log

import torch

from pellucid.combine.base import join, walk
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding, Remedy
from pellucid.doctor.passes import Activity, normalized_moments, with_batch_statistics
from pellucid.doctor.predictions import loss_on, predictions, significantly_better
from pellucid.doctor.remedies import begun, with_layers
from pellucid.layers import BatchNorm
from pellucid.layers.base import Layer
from pellucid.metrics import classes_of
from pellucid.training.model import BaseModel
from pellucid.tree import flatten

FEW = 4  # values for a mean and a variance: in four batches of ten, the variance of so few is off by a factor of 2
MOMENTUM = 0.1  # that running statistics usually have
LEFT = 0.05  # of the first values in running statistics; more, and too few steps were made for them
DEFAULT_BATCH = 32  # examples of a batch, where others are too few
# Of the typical channel, beside a loss that shows the harm; healthy trainings end within 0.02.
SHIFT = 0.2  # standard deviations: a "small" effect (Cohen 1988)
SPREAD = log(1.25)  # of the variance
# Of frozen statistics, beside which the other layers could learn, so that the loss does not show it.
FAR_SHIFT = 1.0
FAR_SPREAD = log(4.0)
STILL = 1e-3  # standard deviation of a constant channel, such as that of an empty border
HARM = 1.5  # the loss by running statistics over that by the batch's own
LAST_BATCH = 0.5  # momentum, from which on the last batch counts for more than all others
MIN_HARM = 0.05  # of the loss, for losses near 0


def look(case: Case) -> list[Finding]:
    """Count values per channel, and compare the layers' normalized outputs with mean 0 and variance 1."""
    norms = {path: layer for path, layer in walk(case.model.net) if isinstance(layer, BatchNorm)}
    norms = {path: layer for path, layer in norms.items() if path in case.activity}
    if not norms:
        return []
    frozen = {path for path in norms if {join(path, "weight"), join(path, "bias")} <= case.model.frozen}
    few = _few(case, [path for path in norms if path not in frozen])
    return few + (_off(case, norms, frozen) if case.trained else [])


def _few(case: Case, paths: list[str]) -> list[Finding]:
    """Find batches with few values per channel; report only the first layer."""
    if not case.trainable:
        return []
    batch, n = min(case.batch_size, len(case.train)), len(case.train)
    rest = n % batch or batch
    for path in paths:
        positions = case.activity[path].size // case.activity[path].units
        alone = batch * positions > FEW
        if alone and rest * positions > 1:
            continue
        evidence: Evidence = {
            "batch_size": batch,
            "values_per_channel": batch * positions,
            "values_in_the_last_batch": rest * positions,
        }
        if alone:
            cause = "the last batch of an epoch has one value per channel, which has no variance, so training stops"
            fix = f"take a batch size that leaves more than one of {n} examples over"
        else:
            cause = "mean and variance of so few values are noise, other in every batch and in evaluation"
            fix = "take batches of 16 or more, or group or layer normalization"
        remedy = _larger(case, batch + 1 if alone else max(batch + 1, DEFAULT_BATCH))
        return [Finding(NAME, path, evidence, cause, fix, remedy)]
    return []


def _larger(case: Case, least: int) -> Remedy | None:
    """Return the remedy of the next batch size that does not leave one example over; None for too few examples."""
    n = len(case.train)
    if n <= FEW:
        return None
    size = next((size for size in range(least, n) if n % size != 1), n)
    return Remedy(f"batches of {size}", lambda case: replace(case, batch_size=size))


def _off(case: Case, norms: Mapping[str, BatchNorm], frozen: set[str]) -> list[Finding]:
    """Find running statistics that differ from those of the data; report only the first layer."""
    for path, layer in norms.items():
        seen = case.activity[path]
        if not seen.finite:
            return []
        shift, spread = _apart(case.model, seen)
        if shift <= (FAR_SHIFT if path in frozen else SHIFT) and spread <= (FAR_SPREAD if path in frozen else SPREAD):
            continue
        evidence: Evidence = {
            "mean_off_by_standard_deviations": shift,
            "variance_off_by_factor": exp(spread),
            "momentum": layer.momentum,
        }
        if path in frozen:
            cause = "the layer is frozen with running statistics of other data"
            fix = "let the layer learn, or scale the inputs as they were for the frozen weights"
            return [Finding(NAME, path, evidence, cause, fix, Remedy("norms that learn", _thawed))]
        return _harmful(case, path, layer, evidence)
    return []


def _harmful(case: Case, path: str, layer: BatchNorm, evidence: Evidence) -> list[Finding]:
    """Return why the running statistics are off, if the loss or the predictions show the harm."""
    part, loss = case.watched, case.model.loss
    by_batch, _ = loss(loss.judged(with_batch_statistics(case.model, case.inputs(part))), part.y)
    running, own = loss_on(case.model, part), by_batch.item()
    last = layer.momentum >= LAST_BATCH and _better_by_batch(case)
    if not last and (running <= HARM * own or running - own <= MIN_HARM):
        return []
    evidence |= {"loss_by_running_statistics": running, "loss_by_batch_statistics": own}
    now, first = flatten(case.model.params), flatten(case.first.params)
    updated = not all(torch.equal(now[name], first[name]) for name in (join(path, name) for name in layer.buffers))
    usual = layer.momentum == MOMENTUM
    at_least = max(layer.momentum, MOMENTUM)
    remedy = None if usual else Remedy("a momentum of 0.1", lambda case: with_layers(case, _with_momentum))
    if last:
        cause = "with this momentum the running statistics are those of the last batch, as of a library where the "
        cause += "momentum is the share of the old statistics"
        fix = "take a momentum of 0.1, the share of the new batch"
    elif not updated:  # with the usual momentum: it was not trained, or its buffers were put back
        cause = "the running statistics were never updated, so that evaluation normalises by made-up numbers"
        fix = "give the layer a momentum above 0, such as 0.1, and train it"
        fix = "train the layer, in training mode" if usual else fix
    elif case.steps_made and (1 - at_least) ** case.steps_made > LEFT:
        left = (1 - layer.momentum) ** case.steps_made
        evidence |= {"steps": case.steps_made, "share_of_the_first_values_left": left}
        cause = "so few steps were made that the running statistics are still on their way from their first values"
        fix = f"train for longer: they need {ceil(log(LEFT) / log(1 - at_least))} steps or more"
        remedy = None
    elif usual:
        cause = "the running statistics did not follow the data: batches differ, or the weights moved on too fast"
        fix = "take larger batches, or train for longer at a lower rate at the end"
    else:
        cause = "the running statistics did not follow the data: the momentum is too small or too large"
        fix = "take a momentum of 0.1 and larger batches, or train for longer at a lower rate at the end"
    return [Finding(NAME, path, evidence, cause, fix, remedy, proven=last)]


def _apart(model: BaseModel, seen: Activity) -> tuple[float, float]:
    """Return how far the normalised values of the typical channel are from mean 0 and, as a logarithm, variance 1."""
    mean, std = normalized_moments(model, seen)
    moving = std > STILL
    if not bool(moving.any()):
        return 0.0, 0.0
    return mean[moving].abs().median().item(), std[moving].square().log().abs().median().item()


def _better_by_batch(case: Case) -> bool:
    """Return whether more unseen examples are predicted right by the statistics of all of them together."""
    part, loss = case.validation_sample or case.sample, case.model.loss
    if not case.classifies:
        return False
    own = loss.predict(loss.judged(with_batch_statistics(case.model, case.inputs(part))))
    return significantly_better(predictions(case.model, part).classes == part.y, classes_of(own) == part.y)


def _with_momentum(layer: Layer) -> Layer:
    return replace(layer, momentum=MOMENTUM) if isinstance(layer, BatchNorm) else layer


def _thawed(case: Case) -> Case:
    def thaw(model: BaseModel) -> None:
        norms = {path for path, layer in walk(model.net) if isinstance(layer, BatchNorm)}
        model.frozen = {path for path in model.frozen if path.rpartition(".")[0] not in norms}

    return begun(case, thaw)


NAME = "batch-norm"
CHECK = Check(NAME, look, explains=("overfitting", "underfitting", "miscalibration", "collapsed-predictions"))
