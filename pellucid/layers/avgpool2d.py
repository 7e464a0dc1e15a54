"""Average pooling.

Fused forms: KernelForm (fuse/kernel_form.py) and NormActConv (fuse/recompute.py) in training.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.settings.checks import check_positive
from pellucid.layers.base import Layer, Mode, Params, Shape, Trait, pair
from pellucid.layers.checks import check_image_shape, check_pool_padding, check_windows_overlap_input, window_outputs
from pellucid.layers.windows import Windows, sum_dtype


class AvgPool2dCache(NamedTuple):
    """Cache of AvgPool2d: its input, (N, C, H, W)."""

    x: Tensor


@dataclass(frozen=True)
class AvgPool2d(Layer):
    """Average over each window.

    x is (N, C, H, W), y is (N, C, H', W') with H' = floor((H + 2 p - d (k - 1) - 1) / s) + 1, or rounded up with
    `ceil_mode`; `stride` defaults to `kernel`. The mean includes the zeros of the padding unless `count_include_pad` is
    False. With `ceil_mode`, the last windows may extend beyond the padding; such pixels are never included. Source:
    LeCun et al. 1989; dilation: Yu and Koltun 2016, equation 2.
    """

    # NEW_OUTPUT and NEW_DX: newly allocated, so other layers may overwrite them.
    # ADDITIVE: inputs add up to an output, so relevance is shared by their contributions.
    traits: ClassVar[Trait] = Trait.LINEAR | Trait.ADDITIVE | Trait.RESAMPLE | Trait.NEW_OUTPUT | Trait.NEW_DX

    kernel: int | tuple[int, int]
    stride: int | tuple[int, int] | None = None
    padding: int | tuple[int, int] = 0
    ceil_mode: bool = False
    count_include_pad: bool = True
    dilation: int | tuple[int, int] = 1

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
        return {}, (channels, *self._windows(height, width).output_size)

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, AvgPool2dCache]:
        """Compute y = the mean over each window of x."""
        if pair(self.dilation) != (1, 1):
            windows = self._windows(*x.shape[2:])
            return (windows.sums(x) / self._window_counts(windows, x)).to(x.dtype), AvgPool2dCache(x)
        y = F.avg_pool2d(x, self.kernel, self.step, self.padding, self.ceil_mode, self.count_include_pad)
        return y, AvgPool2dCache(x)

    def backward(self, params: Params, cache: AvgPool2dCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx[i] = the sum of dy / (number of values in the window) over the windows that contain pixel i."""
        windows = self._windows(*cache.x.shape[2:])
        return windows.scatter(dy / self._window_counts(windows, cache.x)).to(dy.dtype), {}

    def _windows(self, height: int, width: int) -> Windows:
        size, kernel, stride = (height, width), pair(self.kernel), pair(self.step)
        padding, dilation = pair(self.padding), pair(self.dilation)
        output_size = window_outputs(self, size, kernel, stride, padding, dilation, self.ceil_mode)
        if not self.count_include_pad:  # the mean of a window without values is undefined
            check_windows_overlap_input(self, size, kernel, stride, padding, dilation)
        return Windows(size, output_size, kernel, stride, padding, dilation)

    def _window_counts(self, windows: Windows, x: Tensor) -> Tensor:
        """Return the number of values in each window: (1, 1, H', W')."""
        vertical, horizontal = windows.padding
        ones = F.pad(  # 1 where a pixel is included in the mean, else 0
            x.new_ones(1, 1, *windows.size, dtype=sum_dtype(x.dtype)),
            (horizontal, horizontal, vertical, vertical),
            value=float(self.count_include_pad),
        )
        height, width = ones.shape[2:]
        return replace(windows, size=(height, width), padding=(0, 0)).sums(ones)
