"""Occlusion: what becomes of a score when a grey square hides one part of the image after another."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.explain.near import Near
from pellucid.explain.repeated import at_least
from pellucid.explain.sweeps import fixed
from pellucid.explain.target import Target, aim
from pellucid.layers.base import Layer, Mode, Params
from pellucid.sweep import forward
from pellucid.training.allocator import memory_kept

VECTORS = 32  # times as many squares at once in layers that read vectors: they are little, and large weights read once
Fill = float | Tensor
Read = Callable[[Tensor], Tensor]  # the network's output (N, K), to what is measured: probabilities, for instance


@dataclass(frozen=True, eq=False)
class Occluded:
    """What the network says with the square at each of h x w places.

    score: (N, h, w), the target's score with the square there; whole: (N,), without a square. predicted: (N, h, w)
    int64, the class with the largest output with the square there; None for targets inside the network. corners: (h, w,
    4), the square's top, left, bottom and right in pixels, the last two excluded; at the edges it is cut off.
    """

    score: Tensor
    whole: Tensor
    predicted: Tensor | None
    corners: Tensor

    def effect(self, height: int, width: int) -> Tensor:
        """Return (N, 1, H, W): by how much the score falls, the mean over the squares that hide a pixel."""
        falls = (self.whole[:, None, None] - self.score).flatten(1)  # (N, h w)
        total = falls.new_zeros(len(falls), height, width)
        count = falls.new_zeros(height, width)
        for k, (top, left, bottom, right) in enumerate(self.corners.flatten(0, 1).tolist()):
            total[:, top:bottom, left:right] += falls[:, k, None, None]
            count[top:bottom, left:right] += 1
        return (total / count)[:, None]


def occlusion(
    net: Layer,
    params: Params,
    x: Tensor,
    target: Target = None,
    square: int | None = None,
    stride: int | None = None,
    fill: Fill = 0.0,
    batch: int = 16,
) -> Tensor:
    """Return by how much the target's score falls when a pixel is hidden, (N, 1, H, W): see `Occluded.effect`.

    The options are those of `occlude`. Source: Zeiler and Fergus 2014, section 4.2.
    """
    return occlude(net, params, x, target, square, stride, fill, batch).effect(x.shape[2], x.shape[3])


@torch.no_grad()
def occlude(
    net: Layer,
    params: Params,
    x: Tensor,
    target: Target = None,
    square: int | None = None,
    stride: int | None = None,
    fill: Fill = 0.0,
    batch: int = 16,
    read: Read | None = None,
) -> Occluded:
    """Hide each part of the images x (N, C, H, W) in turn with a square, and run the network on what is left.

    square: its side in pixels, by default a quarter of the shorter side. stride: how far it moves, by default a quarter
    of its side; where the last step would leave pixels that no square hides, a last one is cut off by the edge. fill: a
    number, or a tensor that broadcasts to x; 0 is the mean grey of standardised images. batch: how many squares run at
    once; the first layers of a Sequential compute only what a square reaches (see `Near`). read: what to make of
    the network's outputs, the probabilities of a loss for instance, before the score is taken. target: see
    `aim`; None is the best class of x itself, "features.conv5[12, :, :]" the total activation of a map.
    Raises PellucidError for a square that does not fit, and for what is no image.
    Source: Zeiler and Fergus 2014, section 4.2 and figure 7.
    """
    if not isinstance(x, Tensor) or x.dim() != 4:
        raise PellucidError("occlusion hides squares of images (N, C, H, W); the network reads something else")
    side = max(1, min(x.shape[2:]) // 4) if square is None else square
    step = max(1, side // 4) if stride is None else stride
    at_least("occlusion", 1, square=side, stride=step, batch=batch)
    if side > min(x.shape[2:]):
        raise PellucidError(f"occlusion: a square of {side} exceeds the image of {tuple(x.shape[2:])}; shrink it")
    if step > side:
        raise PellucidError(f"occlusion: a stride of {step} leaves pixels that no square of {side} hides; lower it")
    meant = aim(net, fixed(net, params, x, target), len(x))
    of_classes = meant.index is None
    y = _run(meant.net, params, x, read if of_classes else None)
    mask = meant.mask(y)
    corners = _corners(x.shape[2], x.shape[3], side, step)
    filled = torch.as_tensor(fill, dtype=x.dtype, device=x.device).expand(x.shape)
    runs = [Near(meant.net, params, *both) for both in zip(x, filled, strict=True)]
    scores: list[list[Tensor]] = [[] for _ in x]
    classes: list[list[Tensor]] = [[] for _ in x]
    with memory_kept():
        for places in corners.flatten(0, 1).split(batch * VECTORS if of_classes else batch):
            for n in range(len(x)):
                found = runs[n].run(places, side, batch)
                found = read(found) if read is not None and of_classes else found
                # The unit of a map is looked for again under each square; a class stays what it is.
                at = mask[n].expand(found.shape) if of_classes else meant.mask(found)
                scores[n].append((found * at).flatten(1).sum(1))
                if of_classes:
                    classes[n].append(found.argmax(1))
    shape = corners.shape[:2]
    return Occluded(
        torch.stack([torch.cat(parts).view(shape) for parts in scores]),
        (y * mask).flatten(1).sum(1),
        torch.stack([torch.cat(parts).view(shape) for parts in classes]) if of_classes else None,
        corners,
    )


def _run(net: Layer, params: Params, x: Tensor, read: Read | None) -> Tensor:
    y, _ = forward(net, params, x, Mode(keep=False))
    return y if read is None else read(y)


def _corners(height: int, width: int, side: int, step: int) -> Tensor:
    """Return (h, w, 4): top, left, bottom, right of every square."""
    tops, lefts = (torch.arange(math.ceil((length - side) / step) + 1) * step for length in (height, width))
    top, left = torch.meshgrid(tops, lefts, indexing="ij")
    return torch.stack([top, left, (top + side).clamp_max(height), (left + side).clamp_max(width)], 2)
