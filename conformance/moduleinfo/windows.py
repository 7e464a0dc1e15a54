"""Samples of PyTorch's convolutions and pools; those over one axis run on images of one row."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from conformance.case import SkipCase
from conformance.moduleinfo.module import Module, Twin, layer, nothing
from conformance.trial import AS_IS, ONE_ROW
from conformance.views import of_space, option_of_images, size_of_images
from pellucid.layers import AdaptiveAvgPool2d, AvgPool2d, Conv2d, ConvTranspose2d, LpPool2d, MaxPool2d

WINDOW = "kernel_size", "stride", "padding"
ROW = {"kernel_size": 1, "stride": 1, "padding": 0, "output_padding": 0, "dilation": 1}  # each for the height of a row


def options(module: Any, axes: int, *names: str) -> tuple[Any, ...]:
    """Return the module's options of these names as ours over images."""
    return tuple(option_of_images(getattr(module, name), axes, ROW[name]) for name in names)


def conv(module: Any, x: Tensor, axes: int) -> Twin:
    """Turn a ConvNd into Conv2d, or a ConvTransposeNd into ConvTranspose2d."""
    if module.padding_mode != "zeros":
        raise SkipCase(f"option padding_mode={module.padding_mode!r}")
    names = ("stride", "padding", "dilation", *(("output_padding",) if module.transposed else ()))
    (kernel,) = options(module, axes, "kernel_size")
    rest: dict[str, Any] = dict(zip(names, options(module, axes, *names), strict=True))
    rest |= {"groups": module.groups, "bias": module.bias is not None}
    ours = (ConvTranspose2d if module.transposed else Conv2d)(module.out_channels, kernel, **rest)
    return Twin(ours, of_space(x, axes), ONE_ROW if axes == 1 else AS_IS)


def max_pool(module: Any, x: Tensor, axes: int) -> Twin:
    """Turn a MaxPoolNd into MaxPool2d; the indices it may return are our switches."""
    ours = MaxPool2d(*options(module, axes, *WINDOW, "dilation"), ceil_mode=module.ceil_mode)
    further = (lambda cache: (cache.switches,)) if module.return_indices else nothing
    return Twin(ours, of_space(x, axes), further=further)


def avg_pool(module: Any, x: Tensor, axes: int) -> Twin:
    """Turn an AvgPoolNd into AvgPool2d."""
    if axes > 1 and module.divisor_override is not None:
        raise SkipCase("option divisor_override")
    sizes = options(module, axes, *WINDOW)
    ours = AvgPool2d(*sizes, ceil_mode=module.ceil_mode, count_include_pad=module.count_include_pad)
    return Twin(ours, of_space(x, axes))


def adaptive_avg_pool(module: Any, x: Tensor, axes: int) -> Twin:
    """Turn an AdaptiveAvgPoolNd into AdaptiveAvgPool2d."""
    return Twin(AdaptiveAvgPool2d(size_of_images(x, module.output_size, axes)), of_space(x, axes))


def lp_pool(module: Any, x: Tensor, axes: int) -> Twin:
    """Turn an LPPoolNd into LpPool2d, which sums |x|^p where PyTorch sums x^p."""
    if module.norm_type % 2 and bool((x < 0).any()):
        raise SkipCase("signed powers: p not even, x below 0")
    kernel, stride = options(module, axes, "kernel_size", "stride")
    return Twin(LpPool2d(kernel, module.norm_type, stride, module.ceil_mode), of_space(x, axes))


def _axes(name: str, subject: Any, convert: Callable[..., Twin]) -> tuple[Module, Module]:
    """Return the entries over one axis and over two."""
    one, two = (layer(f"nn.{name}{axes}d", subject, partial(convert, axes=axes)) for axes in (1, 2))
    return one, two


MODULES = (
    *_axes("Conv", Conv2d, conv),
    *_axes("LazyConv", Conv2d, conv),
    *_axes("ConvTranspose", ConvTranspose2d, conv),
    *_axes("LazyConvTranspose", ConvTranspose2d, conv),
    *_axes("MaxPool", MaxPool2d, max_pool),
    *_axes("AvgPool", AvgPool2d, avg_pool),
    *_axes("AdaptiveAvgPool", AdaptiveAvgPool2d, adaptive_avg_pool),
    *_axes("LPPool", LpPool2d, lp_pool),
)
