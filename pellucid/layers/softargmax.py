"""The soft arg max: the expected position in each map."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pellucid.layers.base import Layer, Mode, Params, Shape
from pellucid.layers.checks import check_image_shape
from pellucid.ops import heatmaps


class SoftArgmaxCache(NamedTuple):
    """Cache of SoftArgmax: the probability of each cell (N, C, H, W), and the mean position (N, C, 2) in cells."""

    p: Tensor
    mean: Tensor


@dataclass(frozen=True)
class SoftArgmax(Layer):
    """Compute the expected position in each map; the probabilities of cells are the softmax over all cells of the map.

    x is (N, C, H, W), y is (N, 2 C): the x and then the y coordinate for each map, relative to its centre and in
    units of its sides, so the borders are at -0.5 and 0.5. With p = softmax(x) over the H W cells, and k + 1/2 the
    centre of cell k on an axis: y = Σ p (k + 1/2) / side - 1/2, dx = p ((centre - mean) · dy / sides).
    Source: Sun et al. 2018, Integral human pose regression, equation 2.
    """

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the shape (2 C,)."""
        channels, _, _ = check_image_shape(self, shape)
        return {}, (2 * channels,)

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, SoftArgmaxCache]:
        """Compute y = the expected position divided by the sides, minus 1/2."""
        p = x.flatten(2).softmax(2).view_as(x)
        mean = heatmaps.expectation(p)
        mean_x, mean_y = mean.unbind(2)
        y = torch.stack((mean_x / x.shape[3], mean_y / x.shape[2]), 2) - 0.5
        return y.flatten(1), SoftArgmaxCache(p, mean)

    def backward(self, params: Params, cache: SoftArgmaxCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = p ((centre - mean) · dy / sides)."""
        p, mean = cache
        dy_x, dy_y = dy.view(mean.shape).unbind(2)
        dmean = torch.stack((dy_x / p.shape[3], dy_y / p.shape[2]), 2)
        return p * heatmaps.expectation_slope(p, mean, dmean), {}

    def onnx(self, nodes: Any) -> None:
        """Write the ONNX nodes Reshape, Softmax, MatMul with the centres, and Flatten."""
        channels, height, width = nodes.shape
        i, j = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        centres = torch.stack((j / width - 0.5, i / height - 0.5), 2).flatten(0, 1)  # (H W, 2)
        flat = nodes.inner("Reshape", nodes.x, nodes.integers("shape", 0, channels, height * width))
        p = nodes.inner("Softmax", flat, axis=2)
        nodes.last("Flatten", nodes.inner("MatMul", p, nodes.constant("centres", centres)), axis=1)
