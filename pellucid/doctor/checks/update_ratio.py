"""Updates that are far too large or far too small relative to the weights."""

from collections.abc import Callable, Mapping
from functools import cache
from statistics import median

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding
from pellucid.doctor.passes import trainable_layers
from pellucid.doctor.remedies import rebuilt
from pellucid.nested import flatten

# RMS of the update divided by the RMS of the weight. About 1e-3 is healthy (Karpathy, CS231n, "Ratio of
# weights:updates"); the first steps with momentum reach 5e-2.
MAX_RATIO = 0.1
MIN_RATIO = 1e-5
# Used in place of MIN_RATIO if the median ratio of the other weights is at least MIN_OTHERS_FACTOR times larger.
MIN_RATIO_BESIDE_OTHERS = 1e-4
MIN_OTHERS_FACTOR = 100.0
# Root mean square of a layer's initial weights times sqrt(number of inputs of each output). Smaller initial weights
# need updates that are larger than the weights.
MIN_INITIAL_RMS = 0.1


def find(case: Case) -> list[Finding]:
    """Compare updates with weights in the first steps and over the epochs; biases and scales are skipped.

    The first steps are those of a rehearsal, a short training of a copy of the model from its initial weights.
    """
    inputs_per_output = _inputs_per_output(case)
    ratios = {path: ratio for path, ratio in case.rehearsal.ratios.items() if path in inputs_per_output and ratio}
    findings: list[Finding] = []
    unregularized_ratios = cache(lambda: rebuilt(case, regularizer=None).rehearsal.ratios)
    for path, ratio in ratios.items():
        rows = [row for row in case.history.layers if row["path"] == path] if case.history else []
        epoch_ratios = [row["update_ratio"] for row in rows if row["update_ratio"] is not None]
        other_ratio = median([value for other, value in ratios.items() if other != path] or [ratio])
        min_ratio = MIN_RATIO if ratio * MIN_OTHERS_FACTOR > other_ratio else MIN_RATIO_BESIDE_OTHERS
        evidence: Evidence = {"update_over_weight_in_the_first_steps": ratio, "the_same_of_other_weights": other_ratio}
        if epoch_ratios:
            evidence["median_update_over_weight_in_all_epochs"] = median(epoch_ratios)
        median_ratio = median(epoch_ratios) if epoch_ratios else ratio
        is_high, is_low = min(ratio, median_ratio) > MAX_RATIO, max(ratio, median_ratio) < min_ratio
        if is_low or (is_high and not _is_explained(case, path, inputs_per_output[path], unregularized_ratios)):
            findings.append(Finding(NAME, path, evidence))
    return findings


def _inputs_per_output(case: Case) -> dict[str, int]:
    """Return the number of inputs of each output, by the path of the weight."""
    weights, activity = flatten(case.initial.params), case.initial_activity
    paths = trainable_layers(case.initial)
    return {weight: weights[weight].numel() // activity[path].units for path, weight in paths if path in activity}


def _is_explained(
    case: Case, path: str, inputs: int, unregularized_ratios: Callable[[], Mapping[str, float | None]]
) -> bool:
    """Return whether a large ratio is explained by initial weights near 0 or by a regularizer that shrinks them.

    path: the path of the weight. inputs: the number of inputs of each output. unregularized_ratios: returns the ratios
    by path without regularizers.
    """
    if float(flatten(case.initial.params)[path].square().mean().sqrt()) < MIN_INITIAL_RMS / inputs**0.5:
        return True
    if not case.model.regularizers:
        return False
    unregularized_ratio = unregularized_ratios()[path]
    return unregularized_ratio is not None and unregularized_ratio < MAX_RATIO


NAME = "update-ratio"
CHECK = Check(NAME, find)
