"""Occlusion: the change of a score when a square hides part of the image, at each position."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pellucid.base.allocator import keeping_freed_memory
from pellucid.base.brief import brief_repr
from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import integer
from pellucid.base.settings.tensors import as_tensor
from pellucid.explain.incremental import IncrementalNetwork
from pellucid.explain.layout import has_channels_last, with_channels_first
from pellucid.explain.sweeps import check_not_empty, fix_target
from pellucid.explain.target import Target, aim, example_target
from pellucid.explain.windows import occlude_windows
from pellucid.layers.base import Layer, Mode, Params
from pellucid.sweep import forward
from pellucid.training.model import BaseModel

# For class targets, the last layers, whose inputs are vectors, run once for this many batches of squares: they need
# little memory, and a call with few vectors is inefficient.
VECTOR_BATCHES = 32
GREY = 0.5  # middle of the range from black, 0, to white, 1
FillValue = float | Tensor
# Maps the network's output (N, K) to the measured values, such as probabilities.
OutputFunction = Callable[[Tensor], Tensor]


class Occluded(NamedTuple):
    """The network's outputs with the square at each of h x w positions.

    score: (N, h, w), the target's score with the square at each position.
    baseline: (N,), the score without a square.
    predicted: (N, h, w) int64, the class with the largest output with the square at each position; None for targets
        inside the network and regions.
    corners: (h, w, 4), the square's top, left, bottom and right in pixels, clipped at the edges; bottom and right are
        exclusive.
    """

    score: Tensor
    baseline: Tensor
    predicted: Tensor | None
    corners: Tensor
    __repr__ = brief_repr

    def effect(self, height: int, width: int) -> Tensor:
        """Return (N, 1, H, W): the decrease of the score, averaged over all squares that hide a pixel."""
        decreases = (self.baseline[:, None, None] - self.score).flatten(1)  # (N, h w)
        total = decreases.new_zeros(len(decreases), height, width)
        square_counts = decreases.new_zeros(height, width)
        for k, (top, left, bottom, right) in enumerate(self.corners.flatten(0, 1).tolist()):
            total[:, top:bottom, left:right] += decreases[:, k, None, None]
            square_counts[top:bottom, left:right] += 1
        return (total / square_counts)[:, None]


def occlusion(
    net: Layer,
    params: Params,
    x: Any,
    target: Target = None,
    square: int | tuple[int, ...] | None = None,
    stride: int | tuple[int, ...] | None = None,
    fill: FillValue | tuple[FillValue, ...] = 0.0,
    batch: int = 16,
) -> Any:
    """Return the decrease of the target's score when a pixel is hidden, (N, 1, H, W): see `Occluded.effect`.

    For the options see `occlude`. Signals (N, C, L) have maps (N, 1, L), volumes (N, 1, D, H, W), vectors (N, D);
    several inputs, of which one is hidden at a time, have a tuple of maps. Source: Zeiler and Fergus 2014, section 4.2.
    """
    if isinstance(x, tuple) or x.dim() != 4:
        inputs = x if isinstance(x, tuple) else (x,)
        axes = [None if tensor.dim() < 3 else 1 for tensor in inputs]
        if has_channels_last(net, x):
            axes = [inputs[0].dim() - 1]
        maps = occlude_windows(net, params, inputs, axes, target, square, stride, fill, batch)
        return maps if isinstance(x, tuple) else maps[0]
    if isinstance(square, tuple) or isinstance(stride, tuple) or isinstance(fill, tuple):
        raise PellucidError("occlusion: square, stride and fill of one image are one number each")
    occluded = occlude(net, params, x, target, square, stride, fill, batch)
    if has_channels_last(net, x):
        return occluded.effect(x.shape[1], x.shape[2]).movedim(1, -1)
    return occluded.effect(x.shape[2], x.shape[3])


@torch.no_grad()
def occlude(
    net: Layer,
    params: Params,
    x: Tensor,
    target: Target = None,
    square: int | None = None,
    stride: int | None = None,
    fill: FillValue = 0.0,
    batch: int = 16,
    read: OutputFunction | None = None,
) -> Occluded:
    """Run the network on images x (N, C, H, W) with a square hidden, for each position in a grid.

    square: its side in pixels, by default a quarter of the shorter side of x. stride: the distance between squares, by
    default a quarter of the square's side. Squares cover all pixels; the last ones are clipped at the image's edges.
    fill: the square's values, a number or a tensor that broadcasts to x; 0 is the mean grey of standardised images.
    batch: the number of squares per forward pass; the first layers of a Sequential are only recomputed around the
    square (see `IncrementalNetwork`). read: a function applied to the network's outputs, such as a softmax; ignored for
    targets inside the network, which are units by path. target: see `aim`; None is the predicted class of the unhidden
    x, "features.conv5[12, :, :]" the total activation of a map.
    Raises PellucidError for a square larger than the image, and for inputs other than images.
    Source: Zeiler and Fergus 2014, section 4.2 and figure 7.
    """
    if not isinstance(x, Tensor) or x.dim() != 4:
        raise PellucidError("occlusion needs images (N, C, H, W) as the network's input")
    check_not_empty("occlusion", x)
    fill_images = as_tensor(fill, "occlusion: fill").to(x).expand(x.shape)
    if has_channels_last(net, x):
        fill_images = fill_images.movedim(-1, 1)
    net, params, x = with_channels_first(net, params, x)
    side = max(1, min(x.shape[2:]) // 4) if square is None else square
    step = max(1, side // 4) if stride is None else stride
    for name, value in {"square": side, "stride": step, "batch": batch}.items():
        integer(value, f"occlusion: {name}", 1)
    if side > min(x.shape[2:]):
        raise PellucidError(
            f"occlusion: a square of {side} pixels exceeds the image of {tuple(x.shape[2:])}; shrink it"
        )
    if step > side:
        raise PellucidError(f"occlusion: a stride of {step} leaves pixels that no square of {side} hides; reduce it")
    target = fix_target(net, params, x, target)
    selection = aim(net, target, len(x), keep_probabilities=read is not None)
    y = selection.read(read, forward(selection.net, params, x, Mode(keep=False))[0])
    baseline = selection.score(y)
    has_classes = not selection.is_unit and isinstance(y, Tensor) and y.dim() == 2
    corners = squares(x.shape[2], x.shape[3], side, step)
    variants = [
        IncrementalNetwork(selection.net, params, image, fill_image)
        for image, fill_image in zip(x, fill_images, strict=True)
    ]
    scores: list[list[Tensor]] = [[] for _ in x]
    classes: list[list[Tensor]] = [[] for _ in x]
    with keeping_freed_memory():
        for corner_batch in corners.flatten(0, 1).split(batch * VECTOR_BATCHES if has_classes else batch):
            for n in range(len(x)):
                outputs = selection.read(read, variants[n].run(corner_batch, side, batch))
                # The unit with a map's largest value may differ between squares; a class and a region are fixed.
                fixed_selection = replace(selection, target=example_target(selection.target, n, len(corner_batch)))
                scores[n].append(fixed_selection.score(outputs))
                if has_classes:
                    classes[n].append(outputs.argmax(1))
    shape = corners.shape[:2]
    return Occluded(
        torch.stack([torch.cat(chunks).view(shape) for chunks in scores]),
        baseline,
        torch.stack([torch.cat(chunks).view(shape) for chunks in classes]) if has_classes else None,
        corners,
    )


def grey(model: BaseModel) -> FillValue:
    """Return a middle grey, scaled like the network's inputs: a number, or (C, 1, 1)."""
    return GREY if model.stats is None else (GREY - model.stats.mean) / model.stats.std


def squares(height: int, width: int, side: int, step: int) -> Tensor:
    """Return (h, w, 4): top, left, bottom, right of each square."""
    tops, lefts = (torch.arange(math.ceil((length - side) / step) + 1) * step for length in (height, width))
    top, left = torch.meshgrid(tops, lefts, indexing="ij")
    return torch.stack([top, left, (top + side).clamp_max(height), (left + side).clamp_max(width)], 2)
