"""Smoothing over frames, so that an answer does not flicker."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.errors import PellucidError

TWICE = 2.0  # ratio of probabilities from which another class replaces the answer at once


@dataclass(frozen=True, eq=False)
class Smoothed:
    """The smoothed state after some frames.

    total: the weighted sum of their probabilities (C,), float64; weight: the sum of the weights. held: the class that
    is the answer, None while unsure.
    """

    total: Tensor
    weight: float
    held: int | None

    @property
    def probabilities(self) -> Tensor:
        """The weighted mean of the probabilities (C,)."""
        return self.total / self.weight


@dataclass(frozen=True)
class Smoothing:
    """An exponential average of probabilities, read with hysteresis.

    memory: what a frame weighs after one more, 0 (each frame for itself) to less than 1; the mean then reaches over
    about 1 / (1 - memory) frames. The weights are divided by their sum, so that the first frames count in full, not
    as if nothing had been seen before them. threshold: the mean probability from which a class becomes the answer.
    margin: by how much less than the threshold the answer may then fall before it is unsure, and by how much another
    class must exceed it to take its place, unless it is TWICE as probable: of fifty classes none may be far ahead.
    With margin 0 each mean is read for itself. The defaults outlast one frame in between that surely says something
    else, up to a threshold of 0.9.
    Raises PellucidError for values outside these ranges.
    """

    memory: float = 0.8
    threshold: float = 0.0
    margin: float = 0.2

    def __post_init__(self) -> None:
        """Refuse invalid values."""
        if not 0 <= self.memory < 1:
            raise PellucidError(f"smoothing must be from 0 (none) to less than 1, not {self.memory:g}")
        if not 0 <= self.threshold <= 1:
            raise PellucidError(f"smoothing: threshold must be from 0 to 1, not {self.threshold:g}")
        if not 0 <= self.margin <= 1:
            raise PellucidError(f"smoothing: margin must be from 0 to 1, not {self.margin:g}")

    def step(self, before: Smoothed | None, probabilities: Tensor) -> Smoothed:
        """Return the state after one more frame with probabilities (C,); `before` is None at the start."""
        row = probabilities.double()
        if before is None:
            total, weight, held = row, 1.0, None
        else:
            total, weight, held = self.memory * before.total + row, self.memory * before.weight + 1, before.held
        return Smoothed(total, weight, self._read(total / weight, held))

    def _read(self, mean: Tensor, held: int | None) -> int | None:
        """Return the answer, given the one before."""
        best = int(torch.argmax(mean))
        if held is None:
            return best if float(mean[best]) >= self.threshold else None
        ahead = float(mean[best]) >= min(float(mean[held]) + self.margin, TWICE * float(mean[held]))
        if ahead and float(mean[best]) >= self.threshold:
            return best
        return held if float(mean[held]) >= self.threshold - self.margin else None
