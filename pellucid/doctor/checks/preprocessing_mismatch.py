"""Inputs that are preprocessed differently from the inputs that the model was trained on."""

from collections.abc import Callable
from dataclasses import replace
from math import sqrt

import torch
from torch import Tensor

from pellucid.data import Arrays, float_images
from pellucid.doctor.case import Case
from pellucid.doctor.finding import BOTH_PARTS, Check, Evidence, Finding, Remedy
from pellucid.doctor.inputs import (
    REVERSED_CHANNELS,
    REVERSED_TEXT,
    STANDARDISED_OTHERWISE,
    scrambling,
    traits,
    undoing_changes,
)
from pellucid.doctor.remedies import with_parts

# Distance of the means of training and validation inputs, in standard deviations; 0.8 is called large (Cohen 1988).
MAX_DISTANCE = 1.0
MIN_DEVIATIONS = 4.0  # standard errors by which the distance must exceed MAX_DISTANCE
MIN_EXAMPLES = 20
REDRAWN_DEVIATIONS = 3.0  # root mean squares of the differences of two draws that are at least a standard deviation
MIN_MEMBERS = 10  # training examples of a class, for a reliable mean


def find(case: Case) -> list[Finding]:
    """Compare the mean traits (see `inputs.traits`) of validation and training inputs, by class for classification."""
    scrambled = _scrambled_images(case)
    if scrambled is not None:
        return [scrambled]
    held_out = case.validation_sample
    comparison = None if held_out is None else _trait_distance(case, held_out)
    if held_out is None or comparison is None:
        return []
    indices, distance = comparison
    x, reference = float_images(held_out.x)[indices], float_images(case.sample.x)
    current_distance = distance(x)
    limit = MAX_DISTANCE + MIN_DEVIATIONS / sqrt(len(x))
    if current_distance <= limit:
        return []
    max_undone_distance = min(current_distance / 2, MAX_DISTANCE)
    changes = undoing_changes(x, reference)
    distances = {
        key: undone_distance
        for key, change in changes.items()
        if (undone_distance := distance(change.undo(x))) < max_undone_distance
    }
    # A new standardization corrects any scale and mean, so it is named only if no other change explains the distance.
    best_key = min(distances, key=lambda key: (key == STANDARDISED_OTHERWISE, distances[key]), default="")
    evidence: Evidence = {
        "distance_of_means_in_standard_deviations": current_distance,
        "largest_usual_distance": limit,
        "mean_train": float(reference.mean()),
        "mean_validation": float(x.mean()),
        "standard_deviation_train": float(reference.std()),
        "standard_deviation_validation": float(x.std()),
    }
    if best_key:
        evidence["distance_if_undone"] = distances[best_key]
    if best_key == REVERSED_CHANNELS:
        cause, fix = f"training and validation images {REVERSED_TEXT}", "read both by the same code"
        return [Finding(NAME, BOTH_PARTS, evidence, cause, fix, kind=best_key)]
    fault = f"{changes[best_key].fault}, unlike those in training" if best_key else "prepared in another way"
    return [
        Finding(
            NAME,
            "validation",
            evidence,
            cause=f"validation inputs are {fault}",
            fix="use the same preprocessing for training, validation and prediction: scale, mean, channel order and "
            "position",
            kind=best_key,
        )
    ]


def _scrambled_images(case: Case) -> Finding | None:
    """Return the finding for training images that were reshaped where axes should be exchanged."""
    found = scrambling(case.sample.x)
    if found is None:
        return None
    change, roughness = found
    return Finding(
        NAME,
        "train",
        {"neighbours_differ_more_than_with_axes_exchanged": roughness},
        cause="the images were reshaped where their axes should be exchanged, which scrambles their pixels: with the "
        f"axes exchanged, neighbouring pixels differ {roughness:.1f} times less",
        fix="bring images (height, width, channels) into the order (channels, height, width) by permute or transpose, "
        "not by reshape or view",
        remedy=Remedy(
            "axes exchanged in place of the reshape",
            lambda case: with_parts(
                case, lambda data: replace(data, x=change.undo(data.x)) if scrambling(data.x) else data
            ),
            "axes-exchanged",
        ),
    )


def _trait_distance(case: Case, held_out: Arrays) -> tuple[Tensor, Callable[[Tensor], float]] | None:
    """Return the indices of n validation examples that can be compared with training examples, and a distance function.

    The function has the n inputs as its argument. For each trait, it computes the mean difference between these inputs
    and the mean training example (of the same class for classification) in standard deviations of the trait, and
    returns the largest of these differences. None if n is below MIN_EXAMPLES.
    """
    sample = case.sample
    train = traits(sample.x).double()
    # At least 5 % of the standard deviation of the input values, so traits that hardly vary have little influence.
    std = train.std(0, correction=0).clamp_min(0.05 * float(float_images(sample.x).std()) + 1e-12)
    if case.redrawn is not None:  # what differs as much from draw to draw is no difference of the preprocessing
        first, second = (traits(x).double() for x in case.redrawn)
        std = torch.maximum(std, REDRAWN_DEVIATIONS * (first - second).square().mean(0).sqrt())
    if not case.classifies or int(sample.y.min()) < 0:
        indices, means = torch.arange(len(held_out)), train.mean(0)[None]
    else:
        counts = sample.y.bincount()
        indices = torch.isin(held_out.y, (counts >= MIN_MEMBERS).nonzero().flatten()).nonzero().flatten()
        sums = torch.zeros(len(counts), train.shape[1], dtype=torch.float64).index_add_(0, sample.y, train)
        means = (sums / counts.clamp_min(1)[:, None])[held_out.y[indices]]
    if len(indices) < MIN_EXAMPLES:
        return None
    return indices, lambda x: float(((traits(x).double() - means).mean(0) / std).abs().max())


NAME = "preprocessing-mismatch"
CHECK = Check(
    NAME, find, finds_faults=True,
    explains=("confused-labels", "unnormalised-inputs", "overfitting", "underfitting", "batch-norm"),
)  # fmt: skip
