"""Validation examples that are exact or near copies of training examples."""

from math import prod

import torch
from torch import Tensor

from pellucid.data.dataset import float_images
from pellucid.data.source import Arrays
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding
from pellucid.doctor.inputs import digests, near_copy_fraction

MAX_EXACT_FRACTION = 0.01  # of the validation examples; with more copies, an accuracy of 99 % is meaningless
MIN_COPIES = 3
# Of the validation images; for photographs and digits without copies, 5 % of them are so near to one training image.
MAX_CLOSE_FRACTION = 0.25
MIN_EXAMPLES = 100  # of the training and of the validation data; with fewer, quotients of distances are unreliable
MIN_MEMBERS = 20  # training examples of a class
MIN_VALUES = 16  # features of an input; with fewer, equal inputs are frequent in correct data too
MIN_SIDE = 8  # pixels


def find(case: Case) -> list[Finding]:
    """Look for exact copies of all training examples in the validation data, then for near copies in a sample."""
    validation = case.validation
    if validation is None or prod(case.train.x.shape[1:]) < MIN_VALUES:
        return []
    train_x, validation_x = case.train.x, validation.x
    if train_x.dtype is not validation_x.dtype:
        train_x, validation_x = float_images(train_x), float_images(validation_x)
    train_digests = set(digests(train_x))
    is_copy = torch.tensor([digest in train_digests for digest in digests(validation_x)])
    n, n_copies = len(validation), int(is_copy.sum())
    if n_copies < MIN_COPIES or n_copies / n <= MAX_EXACT_FRACTION:
        return _near_copies(case, validation)
    evidence: Evidence = {"validation_examples": n, "that_are_training_examples": n_copies, "share": n_copies / n}
    cause = "the training and validation data overlap, or were split from data with copies, so memorized examples "
    cause += "count as correct"
    fix = "find copies before splitting, and keep all copies of an example in the same part"
    return [Finding(NAME, "validation", evidence, cause, fix)]


def _near_copies(case: Case, validation: Arrays) -> list[Finding]:
    """Look for validation images that are far nearer to one training image than to most others, as frames are."""
    x = case.train.x
    if x.dim() != 4 or min(x.shape[2:]) < MIN_SIDE or min(len(x), len(validation)) < MIN_EXAMPLES:
        return []
    train_indices, indices = _indices_of_common_classes(case, validation)
    if min(len(train_indices), len(indices)) < MIN_EXAMPLES:
        return []
    fraction = near_copy_fraction(validation.x[indices], x[train_indices], case.model.seed)
    if fraction < MAX_CLOSE_FRACTION:
        return []
    evidence: Evidence = {
        "validation_examples": len(validation), "share_that_is_far_nearer_to_one_than_to_most": fraction,
    }  # fmt: skip
    cause = "the data contained near copies (augmented or compressed images, frames of a scene) before they were split"
    fix = "split first, by person, scene or file, and then augment only the training data"
    return [Finding(NAME, "validation", evidence, cause, fix)]


def _indices_of_common_classes(case: Case, validation: Arrays) -> tuple[Tensor, Tensor]:
    """Return the indices of the training and validation examples of classes with MIN_MEMBERS training examples or more.

    The few examples of a rare class are near each other and far from all others, so they would seem to be copies.
    Without classes, return all indices.
    """
    y = case.train.y
    if not case.classifies or int(y.min()) < 0:
        return torch.arange(len(y)), torch.arange(len(validation))
    common = (y.bincount() >= MIN_MEMBERS).nonzero().flatten()
    return torch.isin(y, common).nonzero().flatten(), torch.isin(validation.y, common).nonzero().flatten()


NAME = "leakage"
CHECK = Check(NAME, find, explains=("confused-labels",), validation_examples=1, finds_faults=True)
