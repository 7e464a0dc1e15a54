"""Inputs in which nothing varies: blank examples, dead channels, or values that are the same in all of them."""

from math import prod

import torch
from torch import Tensor

from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding, Remedy
from pellucid.doctor.inputs import is_image, ranges
from pellucid.doctor.remedies import with_examples

BLANK = 0.05  # of the examples; a few come with every large collection of images
SAME = 0.45  # of the values of an input. The border of MNIST is a third of it in 100 images, less in more
MIN_EXAMPLES = 100  # from which on the values of an input are compared
MIN_VALUES = 8  # of an input: with fewer, equal ones are not surprising


def look(case: Case) -> list[Finding]:
    """Measure every example of both parts."""
    parts = [("train", case.train), *([] if case.validation is None else [("validation", case.validation)])]
    found = [_one(path, part.x) for path, part in parts if len(part) >= 2 and prod(part.x.shape[1:]) >= MIN_VALUES]
    return [one for one in found if one is not None]


def _one(path: str, x: Tensor) -> Finding | None:
    seen = ranges(x)
    n, values, fixed = len(x), seen.low.numel(), seen.low == seen.high
    still, empty = int(fixed.sum()), int(seen.blank.sum())
    channels = x.shape[1] if is_image(x) else 1
    dead = int(fixed.flatten(1).all(1).sum()) if channels > 1 else 0
    evidence: Evidence = {"examples": n}
    fix, remedy = "look at some inputs as the network gets them, and mend what reads or converts them", None
    if still == values:
        evidence |= {"values_of_an_input": values, "that_never_vary": still}
        cause = "all inputs are the same: the pictures were not loaded, or one value was written over them"
    elif empty / n > BLANK:
        evidence |= {"blank_examples": empty, "share": empty / n}
        cause = "pictures were not loaded, or were masked, cropped or scaled until nothing was left"
        fix = "find the blank examples and load them again, or leave them out"
        full = torch.nonzero(~seen.blank).flatten()
        if path == "train" and len(full):
            remedy = Remedy("training without the blank examples", lambda case: with_examples(case, full))
    elif dead:
        evidence |= {"channels": channels, "that_never_vary": dead}
        cause = "a channel was lost when the pictures were read or converted"
    elif n >= MIN_EXAMPLES and still / values > SAME:
        evidence |= {"values_of_an_input": values, "that_never_vary": still, "share": still / values}
        cause = "a mask, a crop or an overwritten region left the same values in every input"
        fix = "look at some inputs, and mend the crop or cut off what is empty"
    else:
        return None
    return Finding(NAME, path, evidence, cause, fix, remedy)


NAME = "constant-inputs"
CHECK = Check(
    NAME, look, examples=2, proven=True,
    explains=("duplicated-inputs", "shuffled-labels", "label-noise", "shortcut-pixels", "preprocessing-mismatch",
              "unnormalised-inputs", "leakage", "collapsed-predictions", "underfitting", "shifted-labels",
              "vanishing-gradients", "dead-units", "useless-maps", "duplicate-maps", "update-ratio",
              "learning-rate-too-low", "overfitting", "miscalibration"),
)  # fmt: skip
