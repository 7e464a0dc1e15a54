"""Agreement with an object whose place is known."""

from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.explain.checks.single import single


class Agreement(NamedTuple):
    """How an explanation agrees with a planted object; (N,) each.

    inside: the part of what is positive in the map that lies on the object; area: the part of the image that the
    object takes, which is what a random map would have inside. hit: whether the map's largest value lies on
    the object (the pointing game of Zhang et al. 2016).
    """

    inside: Tensor
    area: Tensor
    hit: Tensor


def planted(map_: Tensor, mask: Tensor) -> Agreement:
    """Return how an explanation (N, C, H, W) agrees with where an object lies: mask (N, H, W), True on it.

    A map without anything positive has 0 inside. Raises PellucidError for shapes that differ.
    """
    one = single(map_)
    if one.shape != mask.shape:
        raise PellucidError(
            f"a map of shape {tuple(map_.shape)} needs a mask {tuple(one.shape)}, not {tuple(mask.shape)}"
        )
    above, on = one.clamp_min(0).flatten(1), mask.flatten(1).bool()
    total = above.sum(1)
    inside = torch.where(total > 0, (above * on).sum(1) / total, 0.0)
    best = one.flatten(1).argmax(1, keepdim=True)
    return Agreement(inside, on.to(one).mean(1), on.gather(1, best)[:, 0])
