"""Constant inputs: blank examples, channels that never vary, or examples that are all the same."""

from math import prod

import torch

from pellucid.data.source import Arrays
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding, Remedy
from pellucid.doctor.inputs import ranges
from pellucid.doctor.remedies import with_examples
from pellucid.task.traits import is_image

MAX_BLANK = 0.05  # fraction of the examples; every large collection of images contains a few blank images
MIN_VALUES = 8  # features of an input; with fewer, equal inputs are frequent in correct data too


def find(case: Case) -> list[Finding]:
    """Measure the range of each feature and of each example, over all training and validation examples."""
    data_sets = {"train": case.train, "validation": case.validation}
    findings = (_constant_finding(path, data) for path, data in data_sets.items() if data is not None)
    return [*filter(None, findings)]


def _constant_finding(path: str, data: Arrays) -> Finding | None:
    x, y = data.x, data.y
    if len(x) < 2 or prod(x.shape[1:]) < MIN_VALUES:
        return None
    low, high, is_blank = ranges(x)
    if y.dim() > 1:
        is_blank &= (y != 0).flatten(1).any(1)  # an image without an object is blank, and all of its targets are 0
    n, n_values, is_constant = len(x), low.numel(), low == high
    n_constant, n_blank = int(is_constant.sum()), int(is_blank.sum())
    channels = x.shape[1] if is_image(x) else 1
    n_constant_channels = int(is_constant.flatten(1).all(1).sum()) if channels > 1 else 0
    evidence: Evidence = {"examples": n}
    fix, remedy = "look at some inputs of the network, and correct the code that reads or converts them", None
    if n_constant == n_values:
        evidence |= {"values_of_an_input": n_values, "that_never_vary": n_constant}
        cause = "all inputs are the same: the images were not loaded, or were overwritten with one value"
    elif n_blank / n > MAX_BLANK:
        evidence |= {"blank_examples": n_blank, "share": n_blank / n}
        cause = "some images were not loaded, or were masked, cropped or scaled until nothing was left"
        fix = "find the blank examples, and load them again or remove them"
        nonblank_indices = torch.nonzero(~is_blank).flatten()
        if path == "train" and len(nonblank_indices):
            remedy = Remedy(
                "training without the blank examples",
                lambda case: with_examples(case, nonblank_indices),
                "without-blank",
            )
    elif n_constant_channels:
        evidence |= {"channels": channels, "that_never_vary": n_constant_channels}
        cause = "a channel was lost when the images were read or converted"
    else:
        return None
    return Finding(NAME, path, evidence, cause, fix, remedy)


NAME = "constant-inputs"
CHECK = Check(
    NAME, find, examples=2, finds_faults=True,
    explains=("duplicated-inputs", "shuffled-labels", "label-noise", "shortcut-pixels", "preprocessing-mismatch",
              "unnormalised-inputs", "leakage", "underfitting", "overfitting"),
)  # fmt: skip
