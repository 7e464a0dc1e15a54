"""Instance normalization.

Fused form: KernelForm (fuse/kernel_form.py) in training.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check_within
from pellucid.layers.base import Layer, Mode, Params, Shape, Trait
from pellucid.layers.checks import check_image_shape
from pellucid.layers.groupnorm import GroupNormCache, group_norm, group_norm_backward


@dataclass(frozen=True)
class InstanceNorm2d(Layer):
    """Normalize each channel of each image: y = (x - μ) / sqrt(σ² + ε), then w y + b if `affine`.

    x and y are (N, C, H, W); μ and σ² are computed over H and W, as in GroupNorm with one channel per group. With
    `affine`, `weight` and `bias` are (C,). Source: Ulyanov, Vedaldi and Lempitsky 2016, equation 4.
    """

    traits: ClassVar[Trait] = Trait.NORM | Trait.LEARNS

    epsilon: float = 1e-5
    affine: bool = False

    def __post_init__(self) -> None:
        """Raise PellucidError for an invalid hyperparameter."""
        check_within(self, 0.0, 1.0, epsilon=self.epsilon)

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return `weight` of ones and `bias` of zeros if `affine`, and the unchanged shape."""
        channels, height, width = check_image_shape(self, shape)
        if height * width == 1:
            raise PellucidError("InstanceNorm2d: an image of one pixel has no variance; use the layer on larger images")
        return {"weight": torch.ones(channels), "bias": torch.zeros(channels)} if self.affine else {}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, GroupNormCache]:
        """Compute y = (x - μ) / sqrt(σ² + ε), then w y + b if `affine`, per channel of each image."""
        return group_norm(params, x, x.shape[1], self.epsilon)

    def backward(self, params: Params, cache: GroupNormCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = (g - mean(g) - x̂ mean(g x̂)) / sqrt(σ² + ε) with g = w dy, dw = Σ dy x̂, and db = Σ dy."""
        return group_norm_backward(params, cache, dy, cache.x.shape[1])
