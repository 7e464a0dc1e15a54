"""Validation examples that are, bit by bit or nearly, among the training examples."""

from math import prod

import torch
from torch import Tensor

from pellucid.data.dataset import float_images
from pellucid.data.source import Arrays
from pellucid.doctor.case import Case
from pellucid.doctor.finding import Check, Evidence, Finding, Remedy
from pellucid.doctor.inputs import RANK, closeness, digests, select
from pellucid.doctor.remedies import with_validation

EXACT = 0.01  # of the validation examples: then an accuracy of 99 % says nothing any more
MIN_COPIES = 3
NEAR = 0.05  # of the validation examples, that lie nearer to a training example than RARE of these do to each other
RARE = 0.01
# Where the training examples have near copies among themselves too, as frames of a scene: so many lie nearer than this
# to one training example, over the distance of the thirtieth; of photographs and digits 5 % do.
CLOSE, SCENES = 0.33, 0.25
CLEAR = 4.0  # standard deviations by which they are more than that
MIN_EXAMPLES = 100  # of each part; quotients of distances say little in fewer
MIN_MEMBERS = 4 * RANK  # examples of a class
MIN_VALUES = 16  # of an input: with fewer, equal ones are not surprising
MIN_SIDE = 8  # pixels


def look(case: Case) -> list[Finding]:
    """Compare all examples of both parts bit by bit, then a sample nearly."""
    validation = case.validation
    if validation is None or prod(case.train.x.shape[1:]) < MIN_VALUES:
        return []
    train, other = case.train.x, validation.x
    if train.dtype is not other.dtype:
        train, other = float_images(train), float_images(other)
    known = set(digests(train))
    copied = torch.tensor([digest in known for digest in digests(other)])
    n, copies = len(validation), int(copied.sum())
    if copies < MIN_COPIES or copies / n <= EXACT:
        return _near(case, validation)
    evidence: Evidence = {"validation_examples": n, "that_are_training_examples": copies, "share": copies / n}
    cause = "the parts were drawn from a collection with copies, or overlap, so that what was learned by heart "
    cause += "counts as right"
    fix = "take the copies out of one part: first find them, then split, and keep copies on one side"
    remedy = None
    if copies < n:
        remedy = Remedy(
            "validation without the copies", lambda case: with_validation(case, lambda part: select(part, ~copied))
        )
    return [Finding(NAME, "validation", evidence, cause, fix, remedy)]


def _near(case: Case, validation: Arrays) -> list[Finding]:
    """Compare images by how much nearer their nearest neighbour is than the next ones.

    Training examples among themselves show what is natural: digits of one class are often alike.
    """
    x = case.train.x
    if x.dim() != 4 or min(x.shape[2:]) < MIN_SIDE or min(len(x), len(validation)) < MIN_EXAMPLES:
        return []
    seed = case.model.seed
    ours, theirs = _common(case, validation)
    if min(len(ours), len(theirs)) < MIN_EXAMPLES:
        return []
    _, _, usual, _ = closeness(x[ours], x[ours], seed, same=True)
    sampled, nearest, quotient, lone = closeness(validation.x[theirs], x[ours], seed)
    sampled, nearest = theirs[sampled], ours[nearest]
    limit = usual.quantile(RARE)
    close = quotient < limit
    n, count = len(close), int(close.sum())
    expected = RARE * n
    scenes = float((lone < CLOSE).float().mean())
    if scenes < SCENES and (count / n < NEAR or count - expected < CLEAR * (expected * (1 + n / len(usual))) ** 0.5):
        return []
    best = int(torch.where(close, quotient, torch.inf).argmin())
    evidence: Evidence = {
        "validation_examples": n,
        "nearly_training_examples": count,
        "share": count / n,
        "share_of_such_among_training_examples": RARE,
        "share_that_is_far_nearer_to_one_than_to_most": scenes,
        "nearest_distance_over_that_of_a_farther_one_below": float(limit),
        "which_neighbour_is_the_farther_one": RANK,
        "for_example_validation": int(sampled[best]),
        "and_train": int(nearest[best]),
    }
    cause = "changed copies (augmented, compressed, frames of one scene) were made before the data were split"
    fix = "split first, by person, scene or file, and augment only the training part afterwards"
    return [Finding(NAME, "validation", evidence, cause, fix)]


def _common(case: Case, validation: Arrays) -> tuple[Tensor, Tensor]:
    """Return the indices of the examples whose class has MIN_MEMBERS for training.

    The few examples of a rare class are near each other and far from all others, and would all seem to be copies.
    """
    y = case.train.y
    if not case.classifies or int(y.min()) < 0:
        return torch.arange(len(y)), torch.arange(len(validation))
    large = (y.bincount() >= MIN_MEMBERS).nonzero().flatten()
    return torch.isin(y, large).nonzero().flatten(), torch.isin(validation.y, large).nonzero().flatten()


NAME = "leakage"
CHECK = Check(NAME, look, explains=("confused-labels",), unseen=1, proven=True)
