"""Max pooling.

Fused forms: FusedMaxPool2d (fuse/single_layers.py) and KernelForm (fuse/kernel_form.py) in training; MaxPoolRun
(fuse/inference/runs.py) in prediction.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.settings.checks import check_positive
from pellucid.layers.base import Layer, Mode, Params, Shape, Trait, expanded_zeros, memory_format, pair
from pellucid.layers.checks import check_image_shape, check_pool_padding, check_windows_overlap_input, window_outputs
from pellucid.layers.windows import sum_dtype


class MaxPool2dCache(NamedTuple):
    """Cache of MaxPool2d: the index of each maximum, and the shape of the input."""

    switches: Tensor  # (N, C, H', W') int64: row * W + column in the input's channel
    x: Tensor  # (N, C, H, W), expanded from a single stored value


@dataclass(frozen=True)
class MaxPool2d(Layer):
    """Compute the maximum of each window.

    x is (N, C, H, W), y is (N, C, H', W') with H' = floor((H + 2 p - d (k - 1) - 1) / s) + 1, or rounded up with
    `ceil_mode`; `stride` defaults to `kernel`, and padding is never the maximum. Among equal maxima, the first in
    row-major order receives the gradient. Source: Ranzato et al. 2007; switches: Zeiler and Fergus 2014, section 2.1.
    """

    # NEW_OUTPUT and NEW_DX: newly allocated, so other layers may overwrite them.
    traits: ClassVar[Trait] = Trait.RESAMPLE | Trait.NEW_OUTPUT | Trait.NEW_DX

    kernel: int | tuple[int, int]
    stride: int | tuple[int, int] | None = None
    padding: int | tuple[int, int] = 0
    dilation: int | tuple[int, int] = 1
    ceil_mode: bool = False

    def __post_init__(self) -> None:
        """Raise PellucidError for an invalid hyperparameter."""
        check_positive(self, kernel=self.kernel, stride=self.step, dilation=self.dilation)
        check_pool_padding(self, self.padding, self.kernel)

    @property
    def step(self) -> int | tuple[int, int]:
        """The stride, by default the kernel size."""
        return self.kernel if self.stride is None else self.stride

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the pooled shape."""
        channels, height, width = check_image_shape(self, shape)
        output_size = window_outputs(
            self,
            (height, width),
            pair(self.kernel),
            pair(self.step),
            pair(self.padding),
            pair(self.dilation),
            self.ceil_mode,
        )
        self._check_windows(height, width)
        return {}, (channels, *output_size)

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, MaxPool2dCache]:
        """Compute y = the maximum over each window of x."""
        if self.dilation != 1:
            self._check_windows(*x.shape[2:])
        y, switches = F.max_pool2d_with_indices(
            x, pair(self.kernel), pair(self.step), pair(self.padding), pair(self.dilation), self.ceil_mode
        )
        return y, MaxPool2dCache(switches, expanded_zeros(x))

    def backward(self, params: Params, cache: MaxPool2dCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx[switch] = the sum of dy over the windows that have their maximum there, and 0 elsewhere."""
        switches, x = cache
        planes = dy.new_zeros(*x.shape[:2], x.shape[2] * x.shape[3], dtype=sum_dtype(dy.dtype))  # (N, C, H W)
        planes.scatter_add_(2, switches.flatten(2), dy.flatten(2).to(planes.dtype))
        return planes.view(x.shape).to(dy.dtype, memory_format=memory_format(switches)), {}

    def _check_windows(self, height: int, width: int) -> None:
        """Raise PellucidError for a window entirely in the padding, whose maximum has an invalid index in PyTorch."""
        check_windows_overlap_input(
            self, (height, width), pair(self.kernel), pair(self.step), pair(self.padding), pair(self.dilation)
        )
