"""Bundled pictures for the canvas: digits for a network that reads them, else pictures like those of its data."""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from pellucid.data.images import resized
from pellucid.studio.pictures import DIGIT_SIDE, enlarged, family_for, sample, sample_names

DIGITS = tuple("0123456789")  # names of the samples of a network for digits
# Of the test digits of each class, the one that the shipped networks read most surely: it is the first sample.
SUREST = (28, 32, 28, 16, 18, 24, 15, 8, 6, 6)
HAND_CLASS = "5"  # class of all bundled pictures of hands


@cache
def digits() -> tuple[Tensor, Tensor]:
    """Return the test pictures of the bundled digits (N, 1, 8, 8), 0..1, and their classes (N,)."""
    from pellucid.data import load

    test = load("digits").test
    return test.x, test.y


def names_for(model: str, channels: Any) -> tuple[str, ...]:
    """Return the names of the samples for a model."""
    family = family_for(model, channels)
    return DIGITS if family == "digit" else sample_names()[family]


def class_of(name: str) -> str:
    """Return the class of a sample, which is no class of any model if it is unknown."""
    return HAND_CLASS if name.startswith("hand ") else name


def picture_of(name: str, n: int) -> tuple[Tensor, int]:
    """Return a sample, ink (H, W) or a photograph (3, H, W), uint8, and the number of samples of this name.

    n: the index of a digit, modulo their number.
    """
    if name not in DIGITS:
        photograph = sample(name)
        scale = DIGIT_SIDE / max(photograph.shape)
        return resized(photograph, (int(photograph.shape[1] * scale), int(photograph.shape[2] * scale))), 1
    x, y = digits()
    indices = torch.nonzero(y == int(name)).flatten()
    surest = SUREST[int(name)]
    indices[[0, surest]] = indices[[surest, 0]]
    return enlarged(x[indices[n % len(indices)], 0]), len(indices)
