"""Mistakes in key-points of the unopened half."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from benchmarks.doctor.cases.unusual.data import POINTS, arrays
from benchmarks.doctor.cases.unusual.sound import block, pointer
from benchmarks.doctor.fit import Case, Pair
from pellucid.combine import Sequential
from pellucid.layers import Conv2d
from pellucid.losses import HeatMaps
from pellucid.ops import heatmaps

MEASURE = "nearness"
STRIDE = 4


@dataclass(frozen=True)
class SquaredMaps(HeatMaps):
    """The mean squared error of heat maps."""

    metrics: ClassVar[tuple[str, ...]] = ()

    def compute(self, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return (value, dy)."""
        size = (y.shape[2], y.shape[3])
        centres = heatmaps.clamp_points(target[..., :2].to(y.dtype) / self.stride, size)
        maps = heatmaps.gaussians(centres, size, self.sigma)
        error = y - maps
        return error.square().mean() / 2, error / error.numel()


def map_net() -> Sequential:
    """Return a network of heat maps at a quarter of the size."""
    layers = {f"stage{k}": Sequential(**block(32, 2 if k < 2 else 1)) for k in range(6)}
    return Sequential(**layers, out=Conv2d(len(POINTS), 1))


def empty_heat_maps(seed: int) -> Pair:
    """Learn heat maps that are zero almost everywhere by the squared error."""
    wrong, _ = pointer(seed, map_net(), SquaredMaps(stride=STRIDE, sigma=0.25, decode="quarter"))
    sound, _ = pointer(seed, map_net(), HeatMaps(stride=STRIDE, decode="quarter"))
    return Pair(wrong, sound, MEASURE)


def order_differs(seed: int) -> Pair:
    """Number the key-points of training in another order."""
    sound, parts = pointer(seed)
    order = torch.tensor([4, 0, 1, 2, 3, 6, 5])
    return Pair(sound.but(train=arrays(parts.train.x, parts.train.y[:, order].contiguous())), sound, MEASURE)


def points_of_original_size(seed: int) -> Pair:
    """Enlarge the images by two, and leave the key-points."""
    sound, parts = pointer(seed)
    small = parts.train.y * torch.tensor([0.5, 0.5, 1.0])
    return Pair(sound.but(train=arrays(parts.train.x, small)), sound, MEASURE)


def xy_swapped(seed: int) -> Pair:
    """Exchange x and y."""
    sound, parts = pointer(seed)
    return Pair(sound.but(train=arrays(parts.train.x, parts.train.y[..., [1, 0, 2]].contiguous())), sound, MEASURE)


CASES: Mapping[str, Case] = {
    "kpt-empty-heat-maps": empty_heat_maps,
    "kpt-order-differs": order_differs,
    "kpt-points-of-original-size": points_of_original_size,
    "kpt-xy-swapped": xy_swapped,
}
