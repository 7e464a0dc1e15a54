"""Samples of PyTorch's convolution and pooling modules; 1-D modules run on images of one row."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from conformance.case import SkipCase
from conformance.moduleinfo.module import ConvertedModule, Module, layer_module, no_further_outputs
from conformance.trial import AS_IS, ONE_ROW
from conformance.views import image_option, image_size, spatial_view
from pellucid.layers import AdaptiveAvgPool2d, AvgPool2d, Conv2d, ConvTranspose2d, LpPool2d, MaxPool2d

WINDOW_OPTIONS = "kernel_size", "stride", "padding"
# The value of each option along the height, for 1-D modules.
ROW_VALUES = {"kernel_size": 1, "stride": 1, "padding": 0, "output_padding": 0, "dilation": 1}


def image_options(module: Any, axes: int, *names: str) -> tuple[Any, ...]:
    """Return the module's options `names` as options over images (height, width)."""
    return tuple(image_option(getattr(module, name), axes, ROW_VALUES[name]) for name in names)


def conv(module: Any, x: Tensor, axes: int) -> ConvertedModule:
    """Convert a ConvNd to Conv2d, or a ConvTransposeNd to ConvTranspose2d."""
    if module.padding_mode != "zeros":
        raise SkipCase(f"option padding_mode={module.padding_mode!r}")
    option_names = ("stride", "padding", "dilation", *(("output_padding",) if module.transposed else ()))
    (kernel,) = image_options(module, axes, "kernel_size")
    keywords: dict[str, Any] = dict(zip(option_names, image_options(module, axes, *option_names), strict=True))
    keywords |= {"groups": module.groups, "bias": module.bias is not None}
    layer = (ConvTranspose2d if module.transposed else Conv2d)(module.out_channels, kernel, **keywords)
    return ConvertedModule(layer, spatial_view(x, axes), ONE_ROW if axes == 1 else AS_IS)


def max_pool(module: Any, x: Tensor, axes: int) -> ConvertedModule:
    """Convert a MaxPoolNd to MaxPool2d; the indices that the module may return are compared with our switches."""
    layer = MaxPool2d(*image_options(module, axes, *WINDOW_OPTIONS, "dilation"), ceil_mode=module.ceil_mode)
    further_outputs = (lambda cache: (cache.switches,)) if module.return_indices else no_further_outputs
    return ConvertedModule(layer, spatial_view(x, axes), further_outputs=further_outputs)


def avg_pool(module: Any, x: Tensor, axes: int) -> ConvertedModule:
    """Convert an AvgPoolNd to AvgPool2d."""
    if axes > 1 and module.divisor_override is not None:
        raise SkipCase("option divisor_override")
    sizes = image_options(module, axes, *WINDOW_OPTIONS)
    layer = AvgPool2d(*sizes, ceil_mode=module.ceil_mode, count_include_pad=module.count_include_pad)
    return ConvertedModule(layer, spatial_view(x, axes))


def adaptive_avg_pool(module: Any, x: Tensor, axes: int) -> ConvertedModule:
    """Convert an AdaptiveAvgPoolNd to AdaptiveAvgPool2d."""
    return ConvertedModule(AdaptiveAvgPool2d(image_size(x, module.output_size, axes)), spatial_view(x, axes))


def lp_pool(module: Any, x: Tensor, axes: int) -> ConvertedModule:
    """Convert an LPPoolNd to LpPool2d, which sums |x|^p where PyTorch sums x^p."""
    if module.norm_type % 2 and bool((x < 0).any()):
        raise SkipCase("signed powers: p not even, x below 0")
    kernel, stride = image_options(module, axes, "kernel_size", "stride")
    return ConvertedModule(LpPool2d(kernel, module.norm_type, stride, module.ceil_mode), spatial_view(x, axes))


def _modules_over_axes(name: str, subject: Any, convert: Callable[..., ConvertedModule]) -> tuple[Module, Module]:
    """Return the entries of the 1-D and the 2-D module."""
    one, two = (layer_module(f"nn.{name}{axes}d", subject, partial(convert, axes=axes)) for axes in (1, 2))
    return one, two


MODULES = (
    *_modules_over_axes("Conv", Conv2d, conv),
    *_modules_over_axes("LazyConv", Conv2d, conv),
    *_modules_over_axes("ConvTranspose", ConvTranspose2d, conv),
    *_modules_over_axes("LazyConvTranspose", ConvTranspose2d, conv),
    *_modules_over_axes("MaxPool", MaxPool2d, max_pool),
    *_modules_over_axes("AvgPool", AvgPool2d, avg_pool),
    *_modules_over_axes("AdaptiveAvgPool", AdaptiveAvgPool2d, adaptive_avg_pool),
    *_modules_over_axes("LPPool", LpPool2d, lp_pool),
)
