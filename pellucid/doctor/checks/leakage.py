"""Validation examples that are, bit by bit or nearly, among the training examples."""

from dataclasses import replace
from math import prod

import torch
from torch import Tensor

from pellucid.data.dataset import float_images
from pellucid.data.source import Arrays
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Finding, Remedy
from pellucid.doctor.measure.copies import RANK, closeness, digests

EXACT = 0.01  # of the validation examples: then an accuracy of 99 % says nothing any more
AT_LEAST = 3  # of them
NEAR = 0.05  # of the validation examples, that lie nearer to a training example than RARE of these do to each other
RARE = 0.01
# Where the training examples have near copies among themselves too, as frames of a scene: so many lie nearer than this
# to one training example, over the distance of the thirtieth; of photographs and digits 5 % do.
CLOSE, SCENES = 0.33, 0.25
CLEAR = 4.0  # standard deviations by which they are more than that
ENOUGH = 100  # examples of each part; quotients of distances say little in fewer
MEMBERS = 4 * RANK  # examples of a class
LEAST = 16  # values of an input: with fewer, equal ones are no surprise
SIDE = 8  # pixels


def look(case: Case) -> list[Finding]:
    """Compare all examples of both parts bit by bit, then a sample nearly."""
    held = case.validation
    if held is None or prod(case.train.x.shape[1:]) < LEAST:
        return []
    train, other = case.train.x, held.x
    if train.dtype is not other.dtype:
        train, other = float_images(train), float_images(other)
    known = set(digests(train))
    copied = torch.tensor([digest in known for digest in digests(other)])
    n, copies = len(held), int(copied.sum())
    if copies >= AT_LEAST and copies / n > EXACT:
        finding = Finding(
            NAME,
            "validation",
            {"validation_examples": n, "that_are_training_examples": copies, "share": copies / n},
            "the parts were drawn from a collection with copies, or overlap, so that what was learned by heart "
            "counts as right",
            "take the copies out of one part: first find them, then split, and keep copies on one side",
            Remedy("validation without the copies", lambda case: _without(case, copied)) if copies < n else None,
        )
        return [finding]
    return _near(case, held)


def _near(case: Case, held: Arrays) -> list[Finding]:
    """Compare pictures by how much nearer their nearest neighbour is than the next ones.

    What is natural is asked of the training examples among themselves: digits of one class are often alike.
    """
    x = case.train.x
    if x.dim() != 4 or min(x.shape[2:]) < SIDE or min(len(x), len(held)) < ENOUGH:
        return []
    seed = case.model.seed
    ours, theirs = _common(case, held)
    if min(len(ours), len(theirs)) < ENOUGH:
        return []
    _, _, usual, _ = closeness(x[ours], x[ours], seed, same=True)
    places, nearest, quotient, lone = closeness(held.x[theirs], x[ours], seed)
    places, nearest = theirs[places], ours[nearest]
    limit = usual.quantile(RARE)
    close = quotient < limit
    n, count = len(close), int(close.sum())
    expected = RARE * n
    scenes = float((lone < CLOSE).float().mean())
    if scenes < SCENES and (count / n < NEAR or count - expected < CLEAR * (expected * (1 + n / len(usual))) ** 0.5):
        return []
    best = int(torch.where(close, quotient, torch.inf).argmin())
    return [
        Finding(
            NAME,
            "validation",
            {
                "validation_examples": n,
                "nearly_training_examples": count,
                "share": count / n,
                "share_of_such_among_training_examples": RARE,
                "share_that_is_far_nearer_to_one_than_to_most": scenes,
                "nearest_distance_over_that_of_a_farther_one_below": float(limit),
                "which_neighbour_is_the_farther_one": RANK,
                "for_example_validation": int(places[best]),
                "and_train": int(nearest[best]),
            },
            "changed copies (augmented, compressed, frames of one scene) were made before the data were split",
            "split first, by person, scene or file, and augment only the training part afterwards",
        )
    ]


def _common(case: Case, held: Arrays) -> tuple[Tensor, Tensor]:
    """Return the places of the examples whose class has MEMBERS for training.

    The few examples of a rare class are near each other and far from all others, and would all seem to be copies.
    """
    y = case.train.y
    if not case.classifies or int(y.min()) < 0:
        return torch.arange(len(y)), torch.arange(len(held))
    large = (y.bincount() >= MEMBERS).nonzero().flatten()
    return torch.isin(y, large).nonzero().flatten(), torch.isin(held.y, large).nonzero().flatten()


def _without(case: Case, copied: Tensor) -> Case:
    held = case.validation
    if held is None:
        return case
    return replace(case, validation=Arrays(held.x[~copied], held.y[~copied], held.classes, ""))


NAME = "leakage"
CHECK = Check(
    NAME,
    "Validation examples are, exactly or nearly, among the training examples.",
    look,
    explains=("confused-labels",),
    unseen=1,
    proven=True,
)
