"""Power-average pooling.

Fused form: KernelForm (fuse/kernel_form.py) in training.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.settings.checks import check_positive, check_within
from pellucid.layers.base import Layer, Mode, Params, Shape, Trait, pair
from pellucid.layers.checks import check_image_shape, window_outputs
from pellucid.layers.windows import Windows, sum_dtype


class LpPool2dCache(NamedTuple):
    """Cache of LpPool2d: its input and its output."""

    x: Tensor  # (N, C, H, W)
    y: Tensor  # (N, C, H', W')


@dataclass(frozen=True)
class LpPool2d(Layer):
    """Compute the p-norm of each window: y = (Σ |x|^p)^(1/p); p = 2 is L2 pooling.

    x is (N, C, H, W), y is (N, C, H', W') with H' = floor((H - d (k - 1) - 1) / s) + 1, or rounded up with `ceil_mode`;
    `stride` defaults to `kernel`. With `ceil_mode`, the last windows may extend beyond the input; they only sum values
    inside it. For a window of zeros, where the norm is not differentiable, the gradient is 0. Source: Sermanet,
    Chintala and LeCun 2012, section 2.2; dilation: Yu and Koltun 2016, equation 2.
    """

    # ADDITIVE: inputs add up to an output, so relevance is shared by their contributions.
    traits: ClassVar[Trait] = Trait.ADDITIVE | Trait.RESAMPLE

    kernel: int | tuple[int, int]
    p: float = 2.0
    stride: int | tuple[int, int] | None = None
    ceil_mode: bool = False
    dilation: int | tuple[int, int] = 1

    def __post_init__(self) -> None:
        """Raise PellucidError for an invalid hyperparameter."""
        check_positive(self, kernel=self.kernel, stride=self.step, dilation=self.dilation)
        check_within(self, 1.0, float("inf"), p=self.p)

    @property
    def step(self) -> int | tuple[int, int]:
        """The stride, by default the kernel size."""
        return self.kernel if self.stride is None else self.stride

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Return no parameters and the pooled shape."""
        channels, height, width = check_image_shape(self, shape)
        return {}, (channels, *self._windows(height, width).output_size)

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, LpPool2dCache]:
        """Compute y = (Σ |x|^p)^(1/p) over each window of x."""
        powers = x.to(sum_dtype(x.dtype)).abs() ** self.p  # the powers may overflow in half precision
        if pair(self.dilation) == (1, 1):
            sums = F.avg_pool2d(powers, self.kernel, self.step, 0, self.ceil_mode, divisor_override=1)
        else:
            sums = self._windows(*x.shape[2:]).sums(powers)
        y = (sums ** (1 / self.p)).to(x.dtype)
        return y, LpPool2dCache(x, y)

    def backward(self, params: Params, cache: LpPool2dCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = sign(x) |x|^(p - 1) times the sum of dy y^(1 - p) over the windows that contain x."""
        x, y = (tensor.to(sum_dtype(tensor.dtype)) for tensor in cache)
        weighted_dy = torch.where(y > 0, dy * y ** (1 - self.p), 0)  # (N, C, H', W')
        dy_sums = self._windows(*x.shape[2:]).scatter(weighted_dy)  # (N, C, H, W)
        return (x.sign() * x.abs() ** (self.p - 1) * dy_sums).to(dy.dtype), {}

    def _windows(self, height: int, width: int) -> Windows:
        size, kernel, stride, dilation = (height, width), pair(self.kernel), pair(self.step), pair(self.dilation)
        output_size = window_outputs(self, size, kernel, stride, (0, 0), dilation, self.ceil_mode)
        return Windows(size, output_size, kernel, stride, (0, 0), dilation)
