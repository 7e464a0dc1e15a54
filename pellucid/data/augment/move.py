"""Geometric transformations: parameters drawn for each image of a batch, then applied to images and their targets."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Literal, Self, get_args

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError, nearest

Fill = Literal["constant", "nearest", "reflect", "wrap"]


def check_fill(fill: str) -> None:
    """Raise PellucidError for an unknown fill mode."""
    if fill not in get_args(Fill):
        known_fills = ", ".join(get_args(Fill))
        raise PellucidError(f"unknown fill {fill!r}{nearest(fill, get_args(Fill))}; known are {known_fills}")


@dataclass(frozen=True, eq=False)
class Move(ABC):
    """A geometric transformation of N images, with parameters for each image; tensor fields have shape (N, ...).

    size: height and width (H', W') of the outputs.
    """

    size: tuple[int, int]

    @abstractmethod
    def apply(self, x: Tensor, fill: Fill, value: float) -> Tensor:
        """Return the transformed images (N, C, H', W'): floats are interpolated, other dtypes copy the nearest pixel.

        fill, value: see `resample`; `value` must be valid for x's dtype.
        """

    @abstractmethod
    def points(self, positions: Tensor) -> Tensor:
        """Return the new positions of points (N, k, 2), x and y as in `Objects`, so pixel i covers [i, i + 1)."""

    def of(self, n: int) -> Self:
        """Return the transformation of image n, as a transformation of a batch of size 1."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: value[n : n + 1] for name, value in values.items() if isinstance(value, Tensor)})


def uniform(shape: tuple[int, ...], low: float, high: float, rng: torch.Generator, like: Tensor) -> Tensor:
    """Draw float32 values uniformly from [low, high) on the device of `rng`, and move them to the device of `like`."""
    return torch.rand(shape, generator=rng, device=rng.device).mul_(high - low).add_(low).to(like.device)


def random_booleans(n: int, p: float, rng: torch.Generator, like: Tensor) -> Tensor:
    """Draw booleans (n, 1, 1, 1), each True with probability p, on the device of `like`."""
    return (torch.rand((n, 1, 1, 1), generator=rng, device=rng.device) < p).to(like.device)
