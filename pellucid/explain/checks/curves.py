"""Deletion and insertion curves: how fast the score goes, and comes, with the pixels that a map names first."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.errors import PellucidError
from pellucid.explain.checks.single import single
from pellucid.explain.occlusion import Fill, Read
from pellucid.explain.repeated import at_least
from pellucid.explain.sweeps import fixed
from pellucid.explain.target import Target, aim
from pellucid.layers.base import Layer, Mode, Params
from pellucid.sweep import forward

BLUR = 0.1  # of the shorter side: the deviation of the blur that an insertion starts from


class Curve(NamedTuple):
    """Scores (N, steps + 1) with these parts (steps + 1,) of the pixels changed, the most important first."""

    parts: Tensor
    scores: Tensor

    @property
    def area(self) -> Tensor:
        """The area under each curve, (N,): the mean score."""
        return torch.trapezoid(self.scores, self.parts, dim=1)


def deletion(
    net: Layer,
    params: Params,
    x: Tensor,
    target: Target,
    map_: Tensor,
    fill: Fill = 0.0,
    steps: int = 20,
    read: Read | None = None,
) -> Curve:
    """Take the pixels away, the most important first: a good explanation makes the score fall at once.

    map_: (N, C, H, W), whose sum over channels orders the pixels. fill: what stands in their place. read: see
    `occlude`. target: None is the best class of x itself. Source: Petsiuk, Das and Saenko 2018, section 4.1.
    """
    empty = torch.as_tensor(fill, dtype=x.dtype, device=x.device).expand(x.shape)
    return _curve(net, params, x, empty, fixed(net, params, x, target), map_, steps, read)


def insertion(
    net: Layer,
    params: Params,
    x: Tensor,
    target: Target,
    map_: Tensor,
    start: Tensor | None = None,
    steps: int = 20,
    read: Read | None = None,
) -> Curve:
    """Bring the pixels back, the most important first: a good explanation makes the score rise at once.

    start: what stands before they come, by default x strongly blurred, which has no edges that a network could take
    for objects. The others as in `deletion`.
    """
    begin = blurred(x, BLUR * min(x.shape[2:])) if start is None else start.expand(x.shape)
    return _curve(net, params, begin, x, fixed(net, params, x, target), map_, steps, read)


def blurred(x: Tensor, deviation: float) -> Tensor:
    """Return images (N, C, H, W) blurred by a Gaussian of this deviation in pixels, edges repeated."""
    for axis in (2, 3):
        reach = min(max(1, round(3 * deviation)), x.shape[axis] - 1)
        at = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
        weights = torch.exp(-(at**2) / (2 * deviation**2))
        shape, pad = ((1, 1, -1, 1), (0, 0, reach, reach)) if axis == 2 else ((1, 1, 1, -1), (reach, reach, 0, 0))
        kernel = (weights / weights.sum()).view(shape).expand(x.shape[1], *shape[1:])
        x = F.conv2d(F.pad(x, pad, mode="replicate"), kernel, groups=x.shape[1])
    return x


@torch.no_grad()
def _curve(
    net: Layer,
    params: Params,
    before: Tensor,
    after: Tensor,
    target: Target,
    map_: Tensor,
    steps: int,
    read: Read | None,
) -> Curve:
    """Return the scores while the pixels of `before` become those of `after`, the most important first."""
    at_least("deletion and insertion", 1, steps=steps)
    ordered = single(map_).flatten(1)  # (N, H W)
    if ordered.shape[1] != before.shape[2] * before.shape[3] or len(ordered) != len(before):
        raise PellucidError(f"a map of shape {tuple(map_.shape)} does not order the pixels of {tuple(before.shape)}")
    place = ordered.argsort(dim=1, descending=True, stable=True).argsort(1)  # (N, H W), 0 for the most important
    place = place.view(len(before), 1, *before.shape[2:])
    counts = torch.linspace(0, ordered.shape[1], steps + 1).round().long()
    meant = aim(net, target, len(before))
    found: list[Tensor] = []
    for count in counts.tolist():
        y, _ = forward(meant.net, params, torch.where(place < count, after, before), Mode(keep=False))
        measured = y if read is None or meant.index is not None else read(y)
        found.append((measured * meant.mask(measured)).flatten(1).sum(1))
    return Curve((counts / ordered.shape[1]).to(before), torch.stack(found, 1))
