"""Mistakes in key-points."""

from collections.abc import Mapping

import torch

from benchmarks.doctor.cases.unusual.data import SWAPS, arrays
from benchmarks.doctor.cases.unusual.sound import point_net, pointer
from benchmarks.doctor.fit import Case, Pair
from pellucid.data import Augment
from pellucid.layers import ReLU

MEASURE = "nearness"


def flip_without_swap(seed: int) -> Pair:
    """Mirror faces, and call the left eye left after that."""
    sound, _ = pointer(seed)
    wrong = sound.but(augment=Augment(flip=True, swaps=()))
    return Pair(wrong, sound.but(augment=Augment(flip=True, swaps=SWAPS)), MEASURE)


def unseen_at_corner(seed: int) -> Pair:
    """Leave key-points that nobody saw at the corner."""
    usual, parts = pointer(seed)
    unseen = torch.rand(parts.train.y.shape[:2], generator=torch.Generator().manual_seed(seed)) < 0.4
    corner, marked = (parts.train.y.masked_fill(unseen[..., None], 0.0) for _ in range(2))
    corner[..., 2] = 2.0
    sound = usual.but(train=arrays(parts.train.x, marked))
    return Pair(usual.but(train=arrays(parts.train.x, corner)), sound, MEASURE)


def last_relu(seed: int) -> Pair:
    """Put a ReLU behind the coordinates."""
    wrong, _ = pointer(seed, point_net(last=ReLU()))
    sound, _ = pointer(seed)
    return Pair(wrong, sound, MEASURE)


CASES: Mapping[str, Case] = {
    "kpt-flip-without-swap": flip_without_swap,
    "kpt-unseen-at-corner": unseen_at_corner,
    "kpt-last-relu": last_relu,
}
