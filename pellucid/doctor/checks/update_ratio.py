"""Updates that are far too large or far too small relative to the weights."""

from statistics import median

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding
from pellucid.doctor.passes import trainable_layers
from pellucid.doctor.remedies import rebuilt
from pellucid.tree import flatten

# About 1e-3 is healthy (Karpathy, CS231n, "Ratio of weights:updates"); first steps with momentum reach 5e-2.
MAX_RATIO = 0.1
MIN_RATIO = 1e-5
# Used in place of MIN_RATIO if the median ratio of the other weights is at least FASTER times larger.
MIN_RATIO_BESIDE_OTHERS = 1e-4
FASTER = 100.0
MIN_WEIGHTS = 0.1  # root mean square times sqrt(inputs); smaller initial weights need updates larger than themselves


def look(case: Case) -> list[Finding]:
    """Compare updates with weights in the first steps and over the epochs; biases and scales are skipped."""
    weights = _inputs_per_output(case)
    early = {path: ratio for path, ratio in case.rehearsal.ratios.items() if path in weights and ratio}
    found: list[Finding] = []
    for path, ratio in early.items():
        late = [row["update_ratio"] for row in case.history.layers if row["path"] == path] if case.history else []
        late = [value for value in late if value is not None]
        others = median([value for other, value in early.items() if other != path] or [ratio])
        min_ratio = MIN_RATIO if ratio * FASTER > others else MIN_RATIO_BESIDE_OTHERS
        evidence: Evidence = {"update_over_weight_in_the_first_steps": ratio, "the_same_of_other_weights": others}
        if late:
            evidence["median_update_over_weight_in_all_epochs"] = median(late)
        usual = median(late) if late else ratio
        high = ratio > MAX_RATIO and usual > MAX_RATIO and not _is_explained(case, path, weights[path])
        if high or (ratio < min_ratio and usual < min_ratio):
            found.append(Finding(NAME, path, evidence))
    return found


def _inputs_per_output(case: Case) -> dict[str, int]:
    """Return the number of inputs of each output, by the path of the weight."""
    flat, outputs = flatten(case.first.params), case.first_activity
    paths = trainable_layers(case.first)
    return {weight: flat[weight].numel() // outputs[path].units for path, weight in paths if path in outputs}


def _is_explained(case: Case, path: str, inputs: int) -> bool:
    """Return whether a large ratio is explained by initial weights near 0 or by a regularizer that shrinks them."""
    if float(flatten(case.first.params)[path].square().mean().sqrt()) < MIN_WEIGHTS / inputs**0.5:
        return True
    if not case.model.regularizers:
        return False
    without = rebuilt(case, regularizer=None).rehearsal.ratios[path]
    return without is not None and without < MAX_RATIO


NAME = "update-ratio"
CHECK = Check(NAME, look)
