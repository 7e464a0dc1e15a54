"""Validation examples that are copies of training examples, or that the network has learned before its first step."""

from math import prod
from statistics import fmean

import torch
from torch import Tensor

from pellucid.data import Arrays, float_images
from pellucid.data.seeds import generator
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding
from pellucid.doctor.inputs import FAR_RANK, NEAR_RANK, closeness, digests, near_groups
from pellucid.doctor.overlaps import find_overlaps

MAX_EXACT_FRACTION = 0.01  # of the validation examples; with more copies, an accuracy of 99 % is meaningless
MIN_COPIES = 3
# Near copies have a quotient of distances (see `closeness`) below the NEAR_QUANTILE quantile of the quotients between
# training examples. MAX_NEAR_FRACTION is the fraction of the validation examples that may be near copies: the score is
# too high by at most this fraction, and photographs of a person are in many collections more than once.
MAX_NEAR_FRACTION = 0.1
NEAR_QUANTILE = 0.01
# Training examples may be near copies of one another too, such as frames of a scene. Then more than the fraction
# MAX_CLOSE_FRACTION of the validation examples have a quotient below MAX_CLOSE_RATIO for the FAR_RANK-th neighbour (see
# `closeness`). For photographs and digits without copies, 5 % of them do.
MAX_CLOSE_RATIO, MAX_CLOSE_FRACTION = 0.33, 0.25
MIN_DEVIATIONS = 4.0  # standard deviations above the expected number of near copies
MIN_EXAMPLES = 100  # of the training and of the validation data; with fewer, quotients of distances are unreliable
# With at least so many, near copies are found only if more than MAX_FEW_CLOSE_FRACTION of the validation examples have
# a quotient below MAX_CLOSE_RATIO.
MIN_FEW_EXAMPLES, MAX_FEW_CLOSE_FRACTION = 24, 0.5
# Near copies raise the score only if they share their targets: the mean difference of the targets of a validation
# example and its nearest training example, relative to that of N_PAIRINGS others.
MAX_TARGET_DIFFERENCE, N_PAIRINGS = 0.5, 10
NEAR_COPIES = "near-copies"  # the kind of a finding of copies that are not exact, as of scenes
# Of all training examples, and of those of a class, that one scene may have. Drawings in all places, or all images of a
# class, are one large group.
MAX_GROUP_FRACTION = 1 / 3
MAX_GROUPED = 4_000  # images that are grouped
MIN_MEMBERS = 4 * NEAR_RANK  # training examples of a class
MIN_VALUES = 16  # features of an input; with fewer, equal inputs are frequent in correct data too
MIN_SIDE = 8  # pixels
# Before the first step, the mean loss of validation examples that were learned by heart, relative to that with targets
# of other examples; and by how many standard deviations it is lower than that of training examples, by ranks.
MAX_MEMORIZED_LOSS, MIN_LOWER = 0.05, 2.3


def find(case: Case) -> list[Finding]:
    """Look for exact copies of all training examples in the validation data, then in samples for overlaps and copies.

    Before these, for validation examples that the network has learned before its first step.
    """
    return [*_learned_before(case), *_copies(case)]


def _learned_before(case: Case) -> list[Finding]:
    """Find that the first weights know the validation examples better than the training examples, and later ones less.

    Weights of an earlier training on the training data, or on other data, do not; nor do augmented training examples
    that are harder to predict, since they still are after the training.
    """
    losses = case.first_losses
    if losses is None or losses.lower_before < MIN_LOWER or losses.lower_now > 0:
        return []
    if losses.validation > MAX_MEMORIZED_LOSS * losses.exchanged:
        return []  # as of weights from other data, where training examples may be harder
    return [
        Finding(
            NAME,
            "validation",
            evidence={
                "validation_loss_before_the_first_step": losses.validation,
                "train_loss_before_the_first_step": losses.train,
                "lower_by_standard_deviations": losses.lower_before,
                "lower_by_standard_deviations_now": losses.lower_now,
            },
            cause="before its first step, the network already knows the validation examples, better than the training "
            f"examples (mean loss {losses.validation:.2g} and {losses.train:.2g}), so it has learned them in an "
            "earlier training, and its score is not that of new examples",
            fix="make a new network (and optimizer) for each fold of a cross-validation and for each split, or read "
            "its first weights again",
        )
    ]


def _copies(case: Case) -> list[Finding]:
    validation = case.validation
    if validation is None or prod(case.train.x.shape[1:]) < MIN_VALUES:
        return []
    train_x, validation_x = case.train.x, validation.x
    if train_x.dtype is not validation_x.dtype:
        train_x, validation_x = float_images(train_x), float_images(validation_x)
    train_digests = {*digests(train_x)} - {b""}
    n, n_copies = len(validation), sum(digest in train_digests for digest in digests(validation_x))
    if n_copies < MIN_COPIES or n_copies / n <= MAX_EXACT_FRACTION:
        return _overlaps(case, validation) or _near_copies(case, validation)
    return [
        Finding(
            NAME,
            "validation",
            evidence={"validation_examples": n, "that_are_training_examples": n_copies, "share": n_copies / n},
            cause="the training and validation data overlap, or were split from data with copies, so memorized "
            "examples count as correct",
            fix="find copies before splitting, and keep all copies of an example in the same part",
        )
    ]


def _overlaps(case: Case, validation: Arrays) -> list[Finding]:
    """Look for validation examples that are windows or tiles of the recordings or pictures of training examples."""
    train = case.train if case.plain is None else case.plain  # noise of its own in each draw would hide overlaps
    train_x, validation_x = train.x, validation.x
    if train_x.dtype is not validation_x.dtype:
        train_x, validation_x = float_images(train_x), float_images(validation_x)
    if min(len(train), len(validation)) < MIN_FEW_EXAMPLES:
        return []
    overlaps = find_overlaps(validation_x, train_x, case.model.seed)
    if overlaps is None:
        return []
    example, share = overlaps.example, overlaps.n_overlapping / overlaps.n_examples
    return [
        Finding(
            NAME,
            "validation",
            evidence={
                "validation_examples": overlaps.n_examples,
                "that_overlap_training_examples": overlaps.n_overlapping,
                "share": share,
                "share_that_begin_later_and_share_that_begin_earlier_at_least": overlaps.both_sides,
                "for_example_validation": example.window,
                "and_train": example.other,
                "that_begins_earlier_by_rows": example.rows,
                "and_by_values": example.columns,
            },
            cause=f"{share:.0%} of the validation examples overlap with training examples, as windows, tiles or crops "
            "of the same recordings or pictures do, so the score is not that of new ones",
            fix="split by recording, person, picture or time first, and then cut each part into windows, tiles or "
            "crops",
        )
    ]


def _near_copies(case: Case, validation: Arrays) -> list[Finding]:
    """Look for validation images whose nearest training image is much nearer than the next ones.

    The training images are compared with each other first, because images of a class are often similar.
    """
    x = case.train.x
    is_compared = x.dim() == 4 and x.shape[1:] == validation.x.shape[1:] and min(x.shape[2:]) >= MIN_SIDE
    if not is_compared or min(len(x), len(validation)) < MIN_FEW_EXAMPLES:
        return []  # of crops and whole images, for example
    seed = case.model.seed
    train_indices, indices = _indices_of_common_classes(case, validation)
    n_compared = min(len(train_indices), len(indices))
    if n_compared < MIN_FEW_EXAMPLES or len(train_indices) < 2 * FAR_RANK:
        return []
    _, _, train_quotient, _ = closeness(x[train_indices], x[train_indices], seed, is_same_set=True)
    sampled, nearest, quotient, far_quotient = closeness(validation.x[indices], x[train_indices], seed)
    sampled, nearest = indices[sampled], train_indices[nearest]
    limit = train_quotient.quantile(NEAR_QUANTILE)
    is_close = quotient < limit
    n, count = len(is_close), int(is_close.sum())
    expected = NEAR_QUANTILE * n
    scene_fraction = float((far_quotient < MAX_CLOSE_RATIO).float().mean())
    min_excess = MIN_DEVIATIONS * (expected * (1 + n / len(train_quotient))) ** 0.5
    are_few = n_compared < MIN_EXAMPLES
    has_scenes = scene_fraction >= (MAX_FEW_CLOSE_FRACTION if are_few else MAX_CLOSE_FRACTION)
    if not has_scenes and (are_few or count / n < MAX_NEAR_FRACTION or count - expected < min_excess):
        return []
    if not _share_targets(case.train.y[nearest], validation.y[sampled]):
        return []  # pictures on the same backgrounds, for example
    if has_scenes and len(x) + len(validation) <= MAX_GROUPED and not held_out_scenes(case, validation)[0].any():
        return []
    closest = int(far_quotient.argmin() if has_scenes else quotient.argmin())
    return [
        Finding(
            NAME,
            "validation",
            evidence={
                "validation_examples": n,
                "nearly_training_examples": count,
                "share": count / n,
                "share_of_such_among_training_examples": NEAR_QUANTILE,
                "share_that_is_far_nearer_to_one_than_to_most": scene_fraction,
                "nearest_distance_over_that_of_a_farther_one_below": float(limit),
                "which_neighbour_is_the_farther_one": NEAR_RANK,
                "for_example_validation": int(sampled[closest]),
                "and_train": int(nearest[closest]),
            },
            cause="the data contained near copies (augmented or compressed images, frames of a scene) before they "
            "were split",
            fix="split first, by person, scene or file, and then augment only the training data",
            kind=NEAR_COPIES if has_scenes else "",
        )
    ]


def _share_targets(y: Tensor, other_y: Tensor) -> bool:
    """Return whether the targets (n, ...) of pairs of examples are far more alike than those of any two examples."""
    is_value = y.is_floating_point()

    def difference(first: Tensor, second: Tensor) -> float:
        return float(((first - second).abs() if is_value else first != second).double().mean())

    by_chance = fmean(difference(y, other_y.roll(k, 0)) for k in range(1, N_PAIRINGS + 1))
    return difference(y, other_y) <= MAX_TARGET_DIFFERENCE * by_chance


def held_out_scenes(case: Case, validation: Arrays) -> tuple[Tensor, Tensor]:
    """Return which validation and which training images are of some scenes that both have, (n,) and (m,).

    They have at most MAX_GROUP_FRACTION of the training images, and of those of each class. Both are all False if no
    scene is in both parts.
    """
    train = case.train
    groups, train_groups = near_groups(validation.x, train.x, MAX_CLOSE_RATIO)
    labels = train.y if case.classifies and int(train.y.min()) >= 0 else torch.zeros(len(train), dtype=torch.long)
    left = labels.bincount() * MAX_GROUP_FRACTION
    chosen = list[int]()
    common = groups[torch.isin(groups, train_groups)].unique()
    for group in common[torch.randperm(len(common), generator=generator(case.model.seed))].tolist():
        counts = labels[train_groups == group].bincount(minlength=len(left))
        if bool((counts <= left).all()):
            left = left - counts
            chosen.append(group)
    chosen_groups = torch.tensor(chosen, dtype=groups.dtype)
    return torch.isin(groups, chosen_groups), torch.isin(train_groups, chosen_groups)


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
