"""Inputs of which single values are huge, because they were divided by a standard deviation of almost 0."""

from dataclasses import replace

import torch

from pellucid.data.source import Arrays
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding, Remedy
from pellucid.doctor.remedies import with_parts

HUGE = 100.0  # times the deviation of the typical value: no value that varied in training lies so far out
RARE = 0.02  # of the training examples, at most, in which such a value differs from its median
MIN_EXAMPLES = 50  # of each part


def look(case: Case) -> list[Finding]:
    """Look for values that (nearly) never vary in training and are huge where they do."""
    held_out = case.validation_sample
    if held_out is None or not case.train.x.is_floating_point():
        return []
    x, other = (part.x.flatten(1).double() for part in (case.sample, held_out))
    middle, spread = x.median(0).values, x.std(0, correction=0)
    scale = float(spread[spread > 0].median()) if bool((spread > 0).any()) else 0.0
    far = torch.maximum((x - middle).abs().amax(0), (other - middle).abs().amax(0))
    still = (x != middle).double().mean(0) <= RARE
    huge = still & (far > HUGE * scale)
    if not scale or not bool(huge.any()):
        return []

    def mended(part: Arrays) -> Arrays:
        flat = part.x.flatten(1).clone()
        flat[:, huge] = middle[huge].to(flat.dtype)
        return replace(part, x=flat.reshape(part.x.shape))

    evidence = {
        "values_of_an_input": x.shape[1],
        "values_that_hardly_vary_in_training": int(huge.sum()),
        "deviation_of_the_typical_value": scale,
        "largest_value": float(far.max()),
        "validation_examples_with_such_values": int(((other - middle).abs() > HUGE * scale)[:, huge].any(1).sum()),
    }
    cause = "values that are (nearly) always the same in training were divided by their deviation, which is almost 0"
    fix = "divide by one deviation for all pixels or for each channel, or by no less than a tenth of the typical one"
    remedy = Remedy("such values as they mostly are", lambda case: with_parts(case, mended))
    return [Finding(NAME, "validation", evidence, cause, fix, remedy)]


NAME = "tiny-deviation"
CHECK = Check(
    NAME, look, examples=MIN_EXAMPLES, unseen=MIN_EXAMPLES, proven=True,
    explains=("preprocessing-mismatch", "unnormalised-inputs", "overfitting", "miscalibration", "underfitting"),
)  # fmt: skip
