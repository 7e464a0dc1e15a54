"""The transposed convolution.

Fused forms: FusedConvTranspose2d (fuse/single_layers.py) and KernelForm (fuse/kernel_form.py) in training.
"""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check_flag, check_not_negative, check_positive, check_whole
from pellucid.layers.base import Layer, Mode, Params, Shape, Trait, pair
from pellucid.layers.checks import check_image_shape, check_window_output
from pellucid.layers.conv2d import weight_gradient
from pellucid.layers.initializers import check_initializer, draw


class ConvTranspose2dCache(NamedTuple):
    """Cache of ConvTranspose2d: its input, (N, C, H, W)."""

    x: Tensor


@dataclass(frozen=True)
class ConvTranspose2d(Layer):
    """Upsample an image by adding `filters` learned kernels, each scaled by a pixel of x, to the output.

    It is the gradient of Conv2d with respect to its input. x is (N, C, H, W), y is (N, filters, H', W') with
    H' = s (H - 1) + d (k - 1) + 1 - 2 p + o, where o is `output_padding`, the number of rows or columns added at the
    bottom or right; `weight` is (C, filters / groups, kH, kW), `bias` is (filters,).
    Source: Zeiler et al. 2010; the arithmetic is Dumoulin and Visin 2016, relationship 14.
    """

    traits: ClassVar[Trait] = Trait.LINEAR | Trait.WEIGHTED | Trait.CONVOLUTION | Trait.LEARNS
    decayed: ClassVar[tuple[str, ...]] = ("weight",)

    filters: int
    kernel: int | tuple[int, int]
    _: KW_ONLY
    stride: int | tuple[int, int] = 1
    padding: int | tuple[int, int] = 0
    output_padding: int | tuple[int, int] = 0
    dilation: int | tuple[int, int] = 1
    groups: int = 1
    bias: bool = True
    init_weight: str = "he"
    init_bias: str = "zeros"

    def __post_init__(self) -> None:
        """Raise PellucidError for an invalid hyperparameter."""
        check_whole(self, filters=self.filters, groups=self.groups)
        check_flag(self, bias=self.bias)
        check_positive(self, kernel=self.kernel, stride=self.stride, dilation=self.dilation)
        check_not_negative(self, padding=self.padding, output_padding=self.output_padding)
        for extra, s, d in zip(pair(self.output_padding), pair(self.stride), pair(self.dilation), strict=True):
            if extra >= max(s, d):
                raise PellucidError(
                    f"ConvTranspose2d: output_padding={self.output_padding!r} must be smaller than the stride "
                    "or the dilation; use Pad2d for more"
                )
        if self.filters % self.groups:
            raise PellucidError(f"ConvTranspose2d: filters={self.filters} is not a multiple of groups={self.groups}")
        check_initializer("ConvTranspose2d", self.init_weight)
        check_initializer("ConvTranspose2d", self.init_bias)

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Draw `weight` and `bias`; return them and the output shape (filters, H', W')."""
        channels, *size = check_image_shape(self, shape)
        if channels % self.groups:
            raise PellucidError(
                f"ConvTranspose2d: {channels} input channels are not a multiple of groups={self.groups}"
            )
        kernel, stride = pair(self.kernel), pair(self.stride)
        spans = [d * (k - 1) + 1 for d, k in zip(pair(self.dilation), kernel, strict=True)]
        axes = zip(size, spans, stride, pair(self.padding), pair(self.output_padding), strict=True)
        output_size = [s * (length - 1) + span - 2 * p + extra for length, span, s, p, extra in axes]
        for axis, length in zip(("height", "width"), output_size, strict=True):
            check_window_output(self, axis, length)
        area = kernel[0] * kernel[1]
        # Along each axis, only about 1 / stride of the kernel's weights contribute to an output pixel.
        fan_in = max(1, channels // self.groups * area // (stride[0] * stride[1]))
        fan_out = self.filters // self.groups * area
        params = {
            "weight": draw(self.init_weight, (channels, self.filters // self.groups, *kernel), fan_in, fan_out, rng)
        }
        if self.bias:
            params["bias"] = draw(self.init_bias, (self.filters,), fan_in, fan_out, rng)
        return params, (self.filters, *output_size)

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, ConvTranspose2dCache]:
        """Compute y[n, f] = b[f] + the sum over c of kernels w[c, f] at each pixel of x[n, c], scaled by the pixel."""
        y = F.conv_transpose2d(
            x,
            params["weight"],
            params.get("bias"),
            self.stride,
            self.padding,
            self.output_padding,
            self.groups,
            self.dilation,
        )
        return y, ConvTranspose2dCache(x)

    def backward(self, params: Params, cache: ConvTranspose2dCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = Conv2d of dy with the same w, dw = dy correlated with x, db = the sum of dy."""
        vertical, horizontal = pair(self.padding)
        padded_dy = F.pad(dy, (horizontal, horizontal, vertical, vertical))
        kernel, stride, dilation = pair(self.kernel), pair(self.stride), pair(self.dilation)
        # x and dy have exchanged their places in the gradient of Conv2d
        dparams = {"weight": weight_gradient(padded_dy, cache.x, kernel, stride, dilation, self.groups)}
        if self.bias:
            dparams["bias"] = dy.sum((0, 2, 3))  # (filters,)
        return ConvTranspose2d.pull(self, params, cache, dy), dparams

    def pull(self, params: Params, cache: ConvTranspose2dCache, dy: Tensor) -> Tensor:
        """Compute dx without dparams."""
        height, width = cache.x.shape[2:]
        dx = F.conv2d(dy, params["weight"], None, self.stride, self.padding, self.dilation, self.groups)
        return dx[:, :, :height, :width]  # without windows that begin in the rows and columns of the output padding
