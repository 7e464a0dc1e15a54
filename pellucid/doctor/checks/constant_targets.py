"""Targets that are the same for all examples, and labels that are present in all of them or in none."""

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.doctor.case import Case
from pellucid.doctor.checks.class_imbalance import MAX_PROBABILITY
from pellucid.doctor.finding import Check, Finding
from pellucid.doctor.inputs import subsample
from pellucid.objective import Supervised

MIN_EXAMPLES = 20  # of equal targets
MIN_LABELLED = 100  # training examples without a label that the validation data lack too; of fewer, it may be rare
TOLERANCE = 1e-5  # difference of equal numbers, relative to the largest
BATCH_SIZE = 8  # examples
# Data that were sorted by class are the usual reason if the other part of them has other targets.
SHUFFLE = "shuffle before splitting, or split each class separately; if that was done, "


def find(case: Case) -> list[Finding]:
    """Compare the targets of each part of the data with one another: whole targets, or each of several labels."""
    validation = case.validation
    if not isinstance(case.model.objective, Supervised) or case.train.y is case.train.x or not case.train.y.numel():
        return []
    y_by_path = {"train": case.train.y}
    if validation is not None and validation.y.numel():
        y_by_path["validation"] = validation.y
    are_labels = all(_are_labels(case, y) for y in y_by_path.values())
    y_by_path = {path: y.reshape(len(y), y.shape[1] if are_labels else 1, -1) for path, y in y_by_path.items()}
    for path, y in y_by_path.items():
        low, high = y.amin(0).double(), y.amax(0).double()  # (labels, values)
        is_constant = (high - low <= TOLERANCE * torch.maximum(low.abs(), high.abs())).all(1)
        if len(y) < MIN_EXAMPLES or not bool(is_constant.any()):
            continue
        others = [other for name, other in y_by_path.items() if name != path and other.shape[1:] == y.shape[1:]]
        shares = [(other == y[:1]).all(2).double().mean(0) for other in others] or [torch.ones(len(is_constant))]
        is_found = is_constant & (shares[0] ** len(y) < MAX_PROBABILITY)
        if path == "train" and (bool(is_constant.all()) or len(y) >= MIN_LABELLED):
            is_found = is_constant
        if bool(is_found.any()) and _are_read(case):
            return [_finding(case, path, y, is_found, is_unlike=bool(others) and bool((shares[0] < 1).any()))]
    return []


def _are_labels(case: Case, y: Tensor) -> bool:
    """Return whether targets say of several labels whether they are present, and the network has an output for each."""
    has_outputs = y.dim() > 1 and y.shape[1] > 1 and tuple(y.shape[1:]) == tuple(case.model.output_shape)
    return has_outputs and bool(((y == 0) | (y == 1)).all())


def _are_read(case: Case) -> bool:
    """Return whether the loss depends on the targets; some stand only in the place of none."""
    batch = subsample(case.train, BATCH_SIZE, case.model.seed)
    outputs = case.initial(batch.x)
    try:
        losses = [float(case.model.loss(outputs, y)[0]) for y in (batch.y, (batch.y <= 0).to(batch.y.dtype))]
    except (PellucidError, RuntimeError):  # the loss reads targets, since it refuses others
        return True
    return losses[0] != losses[1]


def _finding(case: Case, path: str, y: Tensor, is_found: Tensor, is_unlike: bool) -> Finding:
    """Return the finding; is_unlike: whether the other part of the data has other targets."""
    first_values, data = y[0].double(), "training" if path == "train" else path
    if not bool(is_found.all()):
        names = [f"label {case.class_name(k)} is {first_values[k, 0]:g}" for k in is_found.nonzero().flatten().tolist()]
        return Finding(
            NAME,
            path,
            evidence={"examples": len(y), "labels": len(is_found), "of_one_value": len(names)},
            cause=f"{' and '.join(names)} in all {len(y):,} {data} targets, so that its score means nothing",
            fix="look at how the labels are read (their names, order and spelling), or leave out what no example has",
        )
    number, value = float(first_values[0, 0]), "the same"
    if torch.allclose(first_values, first_values[:1, :1].expand_as(first_values), rtol=TOLERANCE, atol=0):
        value = f"class {case.class_name(int(number))}" if case.classifies else f"{number:g}"
    return Finding(
        NAME,
        path,
        evidence={"examples": len(y), "all_of_them": value},
        cause="targets that are all the same show nothing of their inputs, and outputs that ignore these are right",
        fix=f"{SHUFFLE if is_unlike else ''}look at how the targets are read, such as from which part of a path or "
        f"which column: all {len(y):,} {data} targets are {value}, so that no score means anything",
        proven=True,
    )


NAME = "constant-targets"
CHECK = Check(
    NAME, find, finds_faults=True,
    explains=("unpaired-targets", "shuffled-labels", "shifted-labels", "confused-labels", "label-noise",
              "class-imbalance", "mask-classes", "underfitting", "overfitting"),
)  # fmt: skip
