"""Inputs in which nothing varies: blank examples, dead channels, or places that are the same in all of them."""

from math import prod

import torch
from torch import Tensor

from pellucid.doctor.case import Case
from pellucid.doctor.changed import only
from pellucid.doctor.finding import Check, Finding, Remedy
from pellucid.doctor.measure.spread import Spread, spread

BLANK = 0.05  # of the examples; a few come with every large collection of pictures
SAME = 0.45  # of the values of an input. The border of MNIST is a third of it in 100 pictures, less in more
ENOUGH = 100  # examples before that is asked
LEAST = 8  # values of an input: with fewer, equal ones are no surprise


def look(case: Case) -> list[Finding]:
    """Look at every example of both parts."""
    found: list[Finding] = []
    for path, x in (("train", case.train.x), ("validation", None if case.validation is None else case.validation.x)):
        if x is None or len(x) < 2 or prod(x.shape[1:]) < LEAST:
            continue
        here = _one(path, x, spread(x))
        found += [] if here is None else [here]
    return found


def _one(path: str, x: Tensor, seen: Spread) -> Finding | None:
    n, values = len(x), seen.low.numel()
    fixed = seen.low == seen.high
    still, empty = int(fixed.sum()), int(seen.blank.sum())
    channels = x.shape[1] if x.dim() == 4 and x.shape[2] * x.shape[3] > 1 else 1
    dead = int(fixed.flatten(1).all(1).sum()) if channels > 1 else 0
    if still == values:
        evidence = {"examples": n, "values_of_an_input": values, "that_never_vary": still}
        cause = "all inputs are the same: the pictures were not loaded, or one value was written over them"
        return Finding(NAME, path, evidence, cause, FIX)
    if empty / n > BLANK:
        evidence = {"examples": n, "blank_examples": empty, "share": empty / n}
        cause = "pictures were not loaded, or were masked, cropped or scaled until nothing was left"
        fix = "find the blank examples and load them again, or leave them out"
        full = torch.nonzero(~seen.blank).flatten()
        remedy = Remedy("training without the blank examples", lambda case: only(case, full))
        return Finding(NAME, path, evidence, cause, fix, remedy if path == "train" and len(full) else None)
    if dead:
        evidence = {"examples": n, "channels": channels, "that_never_vary": dead}
        return Finding(NAME, path, evidence, "a channel was lost when the pictures were read or converted", FIX)
    if n >= ENOUGH and still / values > SAME:
        evidence = {"examples": n, "values_of_an_input": values, "that_never_vary": still, "share": still / values}
        cause = "a mask, a crop or an overwritten region left the same values in every input"
        return Finding(NAME, path, evidence, cause, "look at some inputs, and mend the crop or cut off what is empty")
    return None


FIX = "look at some inputs as the network gets them, and mend what reads or converts them"
NAME = "constant-inputs"
CHECK = Check(
    NAME,
    "Inputs are blank, or most of what is in them never varies.",
    look,
    explains=(
        "duplicated-inputs", "shuffled-labels", "label-noise", "shortcut-pixels", "preprocessing-mismatch",
        "unnormalised-inputs", "leakage", "collapsed-predictions", "underfitting", "shifted-labels",
        "vanishing-gradients", "dead-units", "useless-maps", "duplicate-maps", "update-ratio",
        "learning-rate-too-low", "overfitting", "miscalibration",
    ),
    examples=2,
    proven=True,
)  # fmt: skip
