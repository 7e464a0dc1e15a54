"""A change of geometry: drawn for every image of a batch, then applied to the images and to targets of all kinds."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Literal, Self, get_args

import torch
from torch import Tensor

from pellucid.errors import PellucidError, nearest

Fill = Literal["constant", "nearest", "reflect", "wrap"]


def check_fill(fill: str) -> None:
    """Raise PellucidError for an unknown fill mode."""
    if fill not in get_args(Fill):
        known = ", ".join(get_args(Fill))
        raise PellucidError(f"unknown fill {fill!r}{nearest(fill, get_args(Fill))}; known are {known}")


@dataclass(frozen=True, eq=False)
class Move(ABC):
    """A change of geometry with its own parameters for each of N images; fields that are tensors are (N, ...).

    size: (H', W') of the outputs.
    """

    size: tuple[int, int]

    @abstractmethod
    def apply(self, x: Tensor, fill: Fill, value: float) -> Tensor:
        """Return moved images (N, C, H, W): floats are interpolated, other types take the nearest pixel.

        fill, value: see `resample`. value: of x's type.
        """

    @abstractmethod
    def points(self, at: Tensor) -> Tensor:
        """Return the new positions of points. at: (N, k, 2), x and y as in `Objects`, where pixel i is [i, i + 1)."""

    def of(self, n: int) -> Self:
        """Return the move of image n alone, for a batch of one."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: value[n : n + 1] for name, value in values.items() if isinstance(value, Tensor)})


def uniform(shape: tuple[int, ...], low: float, high: float, rng: torch.Generator, like: Tensor) -> Tensor:
    """Return float32 numbers, uniform in [low, high), drawn on the device of `rng`, on that of `like`."""
    return torch.rand(shape, generator=rng, device=rng.device).mul_(high - low).add_(low).to(like.device)


def coins(n: int, p: float, rng: torch.Generator, like: Tensor) -> Tensor:
    """Return booleans (n, 1, 1, 1), each True with probability p."""
    return (torch.rand((n, 1, 1, 1), generator=rng, device=rng.device) < p).to(like.device)
