"""Batch normalization with running statistics that differ from the data's."""

from math import exp, log

from pellucid.combine.base import join, walk
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding, Remedy
from pellucid.doctor.passes import normalized_moments
from pellucid.doctor.remedies import with_initial_model
from pellucid.layers import BatchNorm
from pellucid.nested import flatten
from pellucid.training.model import BaseModel

# Limits for the medians over channels of |mean| and |log variance| after normalization; other layers compensate for
# smaller ones in training. Above a limit, there is a finding.
MAX_SHIFT = 1.0
MAX_SPREAD = log(4.0)
MIN_STD = 1e-3  # after normalization; channels with a smaller one are constant, such as at an empty border, and skipped


def find(case: Case) -> list[Finding]:
    """Compare the moments of normalized outputs with 0 and 1; report only the first layer whose statistics differ."""
    if not case.trained:
        return []
    layers = dict(walk(case.model.net))
    for path, (mean, std) in normalized_moments(case.model, case.inputs(case.sample)).items():
        layer = layers[path]
        varying = std > MIN_STD
        is_frozen = {join(path, "weight"), join(path, "bias")} <= case.model.frozen
        is_usable = isinstance(layer, BatchNorm) and bool(varying.any()) and bool(mean.isfinite().all())
        if not is_frozen or not is_usable or not _has_initial_statistics(case.model, path, layer):
            continue
        shift = float(mean[varying].abs().median())
        spread = float(std[varying].square().log().abs().median())
        if shift <= MAX_SHIFT and spread <= MAX_SPREAD:
            continue
        return [
            Finding(
                NAME,
                path,
                evidence={"mean_off_by_standard_deviations": shift, "variance_off_by_factor": exp(spread)},
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


def _unfreeze_norms(model: BaseModel) -> None:
    norms = {path for path, layer in walk(model.net) if isinstance(layer, BatchNorm)}
    model.frozen = {path for path in model.frozen if path.rpartition(".")[0] not in norms}


NAME = "batch-norm"
CHECK = Check(
    NAME, find, finds_faults=True,
    explains=("overfitting", "underfitting"),
)  # fmt: skip
