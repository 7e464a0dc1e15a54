"""Inputs with a few huge values, because features were divided by a standard deviation of almost 0."""

from dataclasses import replace

import torch

from pellucid.data.dataset import float_images
from pellucid.data.source import Arrays
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding, Remedy
from pellucid.doctor.remedies import with_parts

MIN_RATIO = 100.0  # distance of a value from its feature's median, divided by the features' median standard deviation
MAX_VARYING = 0.02  # fraction of training examples in which such a feature differs from its median
MIN_EXAMPLES = 50  # in the training data, and in the validation data


def find(case: Case) -> list[Finding]:
    """Look for features that are nearly constant in the training data, but have huge values in some examples."""
    held_out = case.validation_sample
    if held_out is None or not case.train.x.is_floating_point():
        return []
    x, held_out_x = (float_images(part.x).flatten(1).double() for part in (case.sample, held_out))
    median, std = x.median(0).values, x.std(0, correction=0)
    scale = float(std[std > 0].median()) if bool((std > 0).any()) else 0.0
    largest = torch.maximum((x - median).abs().amax(0), (held_out_x - median).abs().amax(0))
    is_constant = (x != median).double().mean(0) <= MAX_VARYING
    is_huge = is_constant & (largest > MIN_RATIO * scale)
    if not scale or not bool(is_huge.any()):
        return []

    def with_median(part: Arrays) -> Arrays:
        flat = float_images(part.x).flatten(1).clone()
        flat[:, is_huge] = median[is_huge].to(flat.dtype)
        return replace(part, x=flat.reshape(part.x.shape))

    has_huge_values = ((held_out_x - median).abs() > MIN_RATIO * scale)[:, is_huge].any(1)
    evidence = {
        "values_of_an_input": x.shape[1],
        "values_that_hardly_vary_in_training": int(is_huge.sum()),
        "deviation_of_the_typical_value": scale,
        "largest_value": float(largest.max()),
        "validation_examples_with_such_values": int(has_huge_values.sum()),
    }
    cause = "features that are nearly constant in training were divided by their standard deviation, which is almost 0"
    fix = (
        "divide by one standard deviation for all pixels or for each channel, or by at least a tenth of the median one"
    )
    remedy = Remedy("such features set to their median", lambda case: with_parts(case, with_median), "median-features")
    return [Finding(NAME, "validation", evidence, cause, fix, remedy)]


NAME = "tiny-deviation"
CHECK = Check(
    NAME, find, examples=MIN_EXAMPLES, validation_examples=MIN_EXAMPLES, finds_faults=True,
    explains=("preprocessing-mismatch", "unnormalised-inputs", "overfitting", "underfitting"),
)  # fmt: skip
