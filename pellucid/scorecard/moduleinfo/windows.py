"""Samples of PyTorch's convolutions and pools; those over one axis run on images of one row."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from pellucid.layers import AdaptiveAvgPool2d, AvgPool2d, Conv2d, ConvTranspose2d, LpPool2d, MaxPool2d
from pellucid.scorecard.case import SkipCase
from pellucid.scorecard.moduleinfo.module import Module, Twin, images, layer, nothing, window
from pellucid.scorecard.trial import AS_IS, ONE_ROW


def conv(module: Any, x: Tensor, axes: int) -> Twin:
    """Turn a ConvNd into Conv2d."""
    if module.padding_mode != "zeros":
        raise SkipCase(f"option padding_mode={module.padding_mode!r}")
    padding = module.padding if module.padding == "same" else 0 if module.padding == "valid" else None
    ours = Conv2d(
        module.out_channels,
        window(module.kernel_size, axes, 1),
        window(module.stride, axes, 1),
        window(module.padding, axes, 0) if padding is None else padding,
        window(module.dilation, axes, 1),
        module.groups,
        module.bias is not None,
    )
    return Twin(ours, images(x, axes), ONE_ROW if axes == 1 else AS_IS)


def conv_transpose(module: Any, x: Tensor, axes: int) -> Twin:
    """Turn a ConvTransposeNd into ConvTranspose2d."""
    ours = ConvTranspose2d(
        module.out_channels,
        window(module.kernel_size, axes, 1),
        window(module.stride, axes, 1),
        window(module.padding, axes, 0),
        window(module.output_padding, axes, 0),
        window(module.dilation, axes, 1),
        module.groups,
        module.bias is not None,
    )
    return Twin(ours, images(x, axes), ONE_ROW if axes == 1 else AS_IS)


def max_pool(module: Any, x: Tensor, axes: int) -> Twin:
    """Turn a MaxPoolNd into MaxPool2d; the indices it may return are our switches."""
    ours = MaxPool2d(
        window(module.kernel_size, axes, 1),
        window(module.stride, axes, 1),
        window(module.padding, axes, 0),
        window(module.dilation, axes, 1),
        module.ceil_mode,
    )
    return Twin(ours, images(x, axes), further=(lambda cache: (cache.switches,)) if module.return_indices else nothing)


def avg_pool(module: Any, x: Tensor, axes: int) -> Twin:
    """Turn an AvgPoolNd into AvgPool2d."""
    if axes > 1 and module.divisor_override is not None:
        raise SkipCase("option divisor_override")
    ours = AvgPool2d(
        window(module.kernel_size, axes, 1),
        window(module.stride, axes, 1),
        window(module.padding, axes, 0),
        module.ceil_mode,
        module.count_include_pad,
    )
    return Twin(ours, images(x, axes))


def adaptive_avg_pool(module: Any, x: Tensor, axes: int) -> Twin:
    """Turn an AdaptiveAvgPoolNd into AdaptiveAvgPool2d; None is the input's own size."""
    sizes = module.output_size if isinstance(module.output_size, tuple) else (module.output_size,) * axes
    sizes = tuple(x.shape[k - axes] if size is None else size for k, size in enumerate(sizes))
    return Twin(AdaptiveAvgPool2d(window(sizes, axes, 1)), images(x, axes))


def lp_pool(module: Any, x: Tensor, axes: int) -> Twin:
    """Turn an LPPoolNd into LpPool2d, which sums |x|^p where PyTorch sums x^p."""
    if module.norm_type % 2 and bool((x < 0).any()):
        raise SkipCase("signed powers: p not even, x below 0")
    stride = None if module.stride is None else window(module.stride, axes, 1)
    ours = LpPool2d(window(module.kernel_size, axes, 1), module.norm_type, stride, module.ceil_mode)
    return Twin(ours, images(x, axes))


def _axes(name: str, subject: Any, convert: Callable[..., Twin]) -> tuple[Module, Module]:
    """Return the entries over one axis and over two."""
    one, two = (layer(f"nn.{name}{axes}d", subject, partial(convert, axes=axes)) for axes in (1, 2))
    return one, two


MODULES = (
    *_axes("Conv", Conv2d, conv),
    *_axes("LazyConv", Conv2d, conv),
    *_axes("ConvTranspose", ConvTranspose2d, conv_transpose),
    *_axes("LazyConvTranspose", ConvTranspose2d, conv_transpose),
    *_axes("MaxPool", MaxPool2d, max_pool),
    *_axes("AvgPool", AvgPool2d, avg_pool),
    *_axes("AdaptiveAvgPool", AdaptiveAvgPool2d, adaptive_avg_pool),
    *_axes("LPPool", LpPool2d, lp_pool),
)
