"""The loss of the points for training along the two directions in which the weights have moved most."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

SIDE = 25  # losses along each direction
MARGIN = 1.3  # the half side of the surface relative to the farthest weights of the path
MIN_REACH = 0.5  # the smallest half side, before the first steps
MAX_PATH = 400  # weights that are kept: of more, every second


class LossSurface(NamedTuple):
    """A square of losses around the present weights.

    losses: (SIDE²,), row by row; the first direction from left to right, the second from top to bottom. path: (K, 2),
    coordinates of earlier weights along the directions. reach: half the side. share: of the squared length of the
    path's distances from the present weights, the part along these directions; None without a path.
    """

    losses: Tensor
    path: Tensor
    reach: float
    share: float | None


def extended(path: list[Tensor], weights: Tensor) -> list[Tensor]:
    """Return a path with further weights (P,); a path that is too long keeps its first and every second weights."""
    path = [*path, weights]
    return path if len(path) <= MAX_PATH else [*path[:-1:2], weights]


def surface(path: list[Tensor], loss: Callable[[Tensor], float]) -> LossSurface:
    """Return the loss around the last weights of a path, along the principal directions of the path.

    loss: function of weights (P,). The directions are the first right singular vectors of the path's differences from
    its end; where the path has less than two directions, coordinate axes complete them. Source: Li et al. 2018,
    Visualizing the loss landscape of neural nets, section 7.
    """
    centre = path[-1]
    differences = torch.stack(path) - centre  # (K, P)
    # Small multiples of the axes change no direction of a path, and complete one that has less than two.
    axes = 1e-9 * torch.eye(len(centre), dtype=centre.dtype)[:2]
    directions = torch.linalg.svd(torch.cat([differences, axes]), full_matrices=False).Vh[:2]  # (2, P)
    coordinates = differences @ directions.T
    reach = max(MIN_REACH, MARGIN * float(coordinates.abs().max()))
    steps = torch.linspace(-reach, reach, SIDE, dtype=centre.dtype)
    losses = [loss(centre + a * directions[0] + b * directions[1]) for b in steps for a in steps]
    total = float(differences.square().sum())
    share = float(coordinates.square().sum()) / total if total else None
    return LossSurface(torch.tensor(losses, dtype=torch.float64), coordinates, reach, share)
