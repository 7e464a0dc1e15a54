"""Anchors: boxes of fixed sizes around the cells of feature maps."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def base_anchors(
    stride: int = 16, scales: Sequence[float] = (8, 16, 32), ratios: Sequence[float] = (0.5, 1, 2)
) -> Tensor:
    """Return the anchors (len(ratios) * len(scales), 4) of the first cell, which covers (0, 0, stride, stride).

    A ratio is height / width. The area of a box is about stride^2; its width and height are rounded, then multiplied by
    the scale. The defaults are the nine anchors of Faster R-CNN. Source: Ren et al. 2015, section 3.1.1.
    """
    boxes = []
    for ratio in ratios:
        width = round(math.sqrt(stride * stride / ratio))
        height = round(width * ratio)
        boxes += [_box_around(stride / 2, scale * width, scale * height) for scale in scales]
    return torch.tensor(boxes)


def grid_anchors(
    bases: Sequence[Tensor], sizes: Sequence[tuple[int, int]], strides: Sequence[float | tuple[float, float]]
) -> Tensor:
    """Return all anchors (n, 4) of feature maps, ordered by map, row, column and then by anchor within the cell.

    bases: the anchors (k, 4) of the first cell of each map. sizes: (H, W) of each map. strides: for each map, the
    pixels between neighbouring cells, one number or (vertical, horizontal).
    """
    map_anchors = []
    for base, (height, width), stride in zip(bases, sizes, strides, strict=True):
        vertical, horizontal = stride if isinstance(stride, tuple) else (stride, stride)
        y = vertical * torch.arange(height, device=base.device, dtype=base.dtype)
        x = horizontal * torch.arange(width, device=base.device, dtype=base.dtype)
        y, x = torch.meshgrid(y, x, indexing="ij")  # (H, W)
        shift = torch.stack([x, y, x, y], 2)[:, :, None]  # (H, W, 1, 4)
        map_anchors.append((shift + base).view(-1, 4))
    return torch.cat(map_anchors)


def ssd_priors(
    sizes: Sequence[tuple[int, int]] = ((38, 38), (19, 19), (10, 10), (5, 5), (3, 3), (1, 1)),
    strides: Sequence[float | tuple[float, float]] = (8, 16, 32, 64, 100, 300),
    sides: Sequence[float] = (30, 60, 111, 162, 213, 264, 315),
    ratios: Sequence[Sequence[float]] = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,)),
) -> Tensor:
    """Return the priors (n, 4) of SSD in pixels, in the order of `grid_anchors`; by default the 8,732 of SSD300.

    The priors of a cell of map i are a square of side s_i, a square of side sqrt(s_i s_(i+1)), and for each ratio r two
    boxes: one of width s_i sqrt(r) and height s_i / sqrt(r), and the same box rotated by 90 degrees. sides: the values
    s_i, one more than there are maps. Source: Liu et al. 2016, section 2.2, with the sizes of its reference code for
    300 x 300 pixels. Priors may extend beyond the image.
    """
    bases = []
    for stride, side, next_side, map_ratios in zip(strides, sides[:-1], sides[1:], ratios, strict=True):
        cell_size = stride if isinstance(stride, tuple) else (stride, stride)
        box_sizes = [(side, side), (math.sqrt(side * next_side),) * 2]
        for ratio in map_ratios:
            longer, shorter = side * math.sqrt(ratio), side / math.sqrt(ratio)
            box_sizes += [(longer, shorter), (shorter, longer)]
        bases.append(
            torch.tensor([_box_around((cell_size[1] / 2, cell_size[0] / 2), *box_size) for box_size in box_sizes])
        )
    return grid_anchors(bases, sizes, strides)


def _box_around(centre: float | tuple[float, float], width: float, height: float) -> list[float]:
    x, y = centre if isinstance(centre, tuple) else (centre, centre)
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
