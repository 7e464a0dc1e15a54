"""The convolution over images.

Fused forms: FusedConv2d (fuse/single_layers.py), KernelForm (fuse/kernel_form.py), NormActConv (fuse/recompute.py) and
DenseBlock (fuse/dense_block.py) in training; Convolution and Residual (fuse/inference/runs.py) in prediction.
"""

import itertools
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check_flag, check_not_negative, check_positive, check_whole
from pellucid.layers.base import Layer, Mode, Params, Shape, Trait, pair
from pellucid.layers.checks import check_image_shape, check_window_output
from pellucid.layers.initializers import check_initializer, draw

# Up to this number of input channels, `pull` is two to six times as fast on the CPU as PyTorch's kernel for dx.
MAX_SUMMED_CHANNELS = 4


class Conv2dCache(NamedTuple):
    """Cache of Conv2d: its input, (N, C, H, W)."""

    x: Tensor


@dataclass(frozen=True)
class Conv2d(Layer):
    """Cross-correlate an image with `filters` learned kernels.

    x is (N, C, H, W), y is (N, filters, H', W') with H' = floor((H + 2 p - d (k - 1) - 1) / s) + 1;
    `weight` is (filters, C / groups, kH, kW), `bias` is (filters,). `padding="same"` (stride 1) keeps H and W;
    if the total padding is odd, the extra row or column is added at the bottom or right.
    Source: LeCun et al. 1989; the arithmetic is Dumoulin and Visin 2016, relationship 6.
    """

    # NEW_OUTPUT and NEW_DX: newly allocated, so other layers may overwrite them.
    traits: ClassVar[Trait] = (
        Trait.LINEAR | Trait.WEIGHTED | Trait.CONVOLUTION | Trait.LEARNS | Trait.NEW_OUTPUT | Trait.NEW_DX
    )
    decayed: ClassVar[tuple[str, ...]] = ("weight",)

    filters: int
    kernel: int | tuple[int, int]
    _: KW_ONLY
    stride: int | tuple[int, int] = 1
    padding: int | tuple[int, int] | str = 0
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
        if self.padding == "same":
            if pair(self.stride) != (1, 1):
                raise PellucidError("Conv2d: padding='same' needs stride 1; give the padding as a number")
        else:
            check_not_negative(self, padding=self.padding)
        if self.filters % self.groups:
            raise PellucidError(f"Conv2d: filters={self.filters} is not a multiple of groups={self.groups}")
        check_initializer("Conv2d", self.init_weight)
        check_initializer("Conv2d", self.init_bias)

    def edges(self) -> tuple[int, int, int, int]:
        """Return the number of zero columns or rows added on each side: (left, right, top, bottom)."""
        if isinstance(self.padding, str):
            vertical, horizontal = (d * (k - 1) for d, k in zip(pair(self.dilation), pair(self.kernel), strict=True))
            return horizontal // 2, horizontal - horizontal // 2, vertical // 2, vertical - vertical // 2
        vertical, horizontal = pair(self.padding)
        return horizontal, horizontal, vertical, vertical

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        """Draw `weight` and `bias`; return them and the output shape (filters, H', W')."""
        channels, *size = check_image_shape(self, shape)
        if channels % self.groups:
            raise PellucidError(f"Conv2d: {channels} input channels are not a multiple of groups={self.groups}")
        left, right, top, bottom = self.edges()
        padded_size = size[0] + top + bottom, size[1] + left + right
        spans = [d * (k - 1) + 1 for d, k in zip(pair(self.dilation), pair(self.kernel), strict=True)]
        output_size = [
            check_window_output(self, axis, (length - span) // stride + 1)
            for axis, length, span, stride in zip(
                ("height", "width"), padded_size, spans, pair(self.stride), strict=True
            )
        ]
        kernel = pair(self.kernel)
        area = kernel[0] * kernel[1]
        fan_in, fan_out = channels // self.groups * area, self.filters // self.groups * area
        params = {
            "weight": draw(self.init_weight, (self.filters, channels // self.groups, *kernel), fan_in, fan_out, rng)
        }
        if self.bias:
            params["bias"] = draw(self.init_bias, (self.filters,), fan_in, fan_out, rng)
        return params, (self.filters, *output_size)

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, Conv2dCache]:
        """Compute y[n, f] = b[f] + sum over c of w[f, c] ⋆ x[n, c], where ⋆ is cross-correlation."""
        left, right, top, bottom = self.edges()
        padded = x if (left, top) == (right, bottom) else F.pad(x, (0, right - left, 0, bottom - top))
        y = F.conv2d(padded, params["weight"], params.get("bias"), self.stride, (top, left), self.dilation, self.groups)
        return y, Conv2dCache(x)

    def backward(self, params: Params, cache: Conv2dCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dx = the transposed convolution of dy with w, dw = x correlated with dy, db = the sum of dy."""
        x = F.pad(cache.x, self.edges())  # (N, C, H + top + bottom, W + left + right)
        kernel, stride, dilation = pair(self.kernel), pair(self.stride), pair(self.dilation)
        dparams = {"weight": weight_gradient(x, dy, kernel, stride, dilation, self.groups)}
        if self.bias:
            dparams["bias"] = dy.sum((0, 2, 3))  # (filters,)
        return self._input_gradient(params, cache, dy), dparams

    def pull(self, params: Params, cache: Conv2dCache, dy: Tensor) -> Tensor:
        """Compute dx without dparams.

        For inputs of few channels on the CPU, the contributions wᵀ dy of all windows are computed first, then added
        where windows overlap.
        """
        left, right, top, bottom = self.edges()
        has_few_channels = self.groups == 1 and cache.x.shape[1] <= MAX_SUMMED_CHANNELS and dy.numel() > 0
        if has_few_channels and dy.device.type == "cpu" and (left, top) == (right, bottom):
            windows = params["weight"].flatten(1).t() @ dy.flatten(2)  # (N, C kH kW, H' W')
            size, padding = cache.x.shape[2:], (top, left)
            return F.fold(windows, size, pair(self.kernel), pair(self.dilation), padding, pair(self.stride))
        return self._input_gradient(params, cache, dy)

    def _input_gradient(self, params: Params, cache: Conv2dCache, dy: Tensor) -> Tensor:
        """Return dx: each pixel of dy adds the kernels, scaled by it, to the window that it was computed from."""
        height, width = cache.x.shape[2:]
        left, right, top, bottom = self.edges()
        unread = [  # numbers of rows and columns after the last window
            (size - d * (k - 1) - 1) % s
            for size, d, k, s in zip(
                (height + top + bottom, width + left + right),
                pair(self.dilation),
                pair(self.kernel),
                pair(self.stride),
                strict=True,
            )
        ]
        dx = F.conv_transpose2d(
            dy, params["weight"], None, self.stride, (top, left), unread, self.groups, self.dilation
        )
        return dx[:, :, :height, :width]  # without the extra row and column of padding="same"


def weight_gradient(
    x: Tensor, dy: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...], groups: int
) -> Tensor:
    """Return dw[f, c, i] = the sum over n and o of dy[n, f, o] x[n, c, s o + d i], the correlation of x with dy.

    x is padded, (N, C, ...), dy is (N, filters, ...), and dw is (filters, C / groups, *kernel), for any number of axes
    after the channels. i is a position in the kernel, o a position in the output.
    """
    dy_groups = torch.unflatten(dy, 1, (groups, -1)).flatten(3)  # (N, groups, filters / groups, positions)
    gradients: list[Tensor] = []
    for index in itertools.product(*map(range, kernel)):
        axes = zip(index, stride, dilation, dy.shape[2:], strict=True)
        read_slices = [slice(d * i, d * i + s * (size - 1) + 1, s) for i, s, d, size in axes]
        # the values that the weights at this position were multiplied by: (N, groups, C / groups, positions)
        values = torch.unflatten(x[(..., *read_slices)], 1, (groups, -1)).flatten(3)
        gradients.append(torch.einsum("ngfo,ngco->gfc", dy_groups, values).flatten(0, 1))  # (filters, C / groups)
    return torch.unflatten(torch.stack(gradients, 2), 2, kernel)
