"""Samples of PyTorch's pooling operators."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from pellucid.layers import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d, MaxUnpool2d, Mode
from pellucid.scorecard.case import SkipCase
from pellucid.scorecard.opinfo.operator import Operator
from pellucid.scorecard.opinfo.views import along, of_images, of_rows
from pellucid.scorecard.trial import Ours, Trial, View, layer_trial


def max_pool1d(
    theirs: Callable[[], Any],
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Trial:
    """Put a sample of max_pool1d to MaxPool2d."""
    step = along(stride or kernel_size, 1)
    layer = MaxPool2d(along(kernel_size, 1), step, along(padding, 0), along(dilation, 1), ceil_mode)
    return _max_pool(theirs, layer, x, of_rows(x), return_indices)


def max_pool2d(
    theirs: Callable[[], Any],
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Trial:
    """Put a sample of max_pool2d to MaxPool2d."""
    layer = MaxPool2d(kernel_size, stride or None, padding, dilation, ceil_mode)
    return _max_pool(theirs, layer, x, of_images(x), return_indices)


def _max_pool(theirs: Callable[[], Any], layer: MaxPool2d, x: Tensor, view: View, return_indices: bool) -> Trial:
    """Return the trial, in which the switches must equal the indices where the sample asks for them."""
    if not return_indices:
        return layer_trial(layer, {}, x, theirs, view=view)

    def ours() -> Ours:
        y, cache = layer.forward({}, view.lift(x), Mode())
        outputs = view.drop(y), view.drop(cache.switches)
        return Ours(outputs, lambda dy: {"x": view.drop(layer.backward({}, cache, view.lift(dy))[0])})

    return Trial({"x": x}, theirs, ours)


def max_unpool1d(
    theirs: Callable[[], Tensor],
    x: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Sequence[int] | None = None,
) -> Trial:
    """Put a sample of max_unpool1d to MaxUnpool2d."""
    size = None if output_size is None else (1, output_size[-1])
    layer = MaxUnpool2d(along(kernel_size, 1), along(stride or kernel_size, 1), along(padding, 0), size)
    return _max_unpool(theirs, layer, x, indices, of_rows(x))


def max_unpool2d(
    theirs: Callable[[], Tensor],
    x: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Sequence[int] | None = None,
) -> Trial:
    """Put a sample of max_unpool2d to MaxUnpool2d."""
    size = None if output_size is None else (output_size[-2], output_size[-1])
    return _max_unpool(theirs, MaxUnpool2d(kernel_size, stride or None, padding, size), x, indices, of_images(x))


def _max_unpool(theirs: Callable[[], Tensor], layer: MaxUnpool2d, x: Tensor, indices: Tensor, view: View) -> Trial:
    def ours() -> Ours:
        y, cache = layer.forward({}, (view.lift(x), view.lift(indices)), Mode())
        return Ours((view.drop(y),), lambda dy: {"x": view.drop(layer.backward({}, cache, view.lift(dy))[0][0])})

    return Trial({"x": x}, lambda: (theirs(),), ours)


def avg_pool1d(
    theirs: Callable[[], Tensor],
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Trial:
    """Put a sample of avg_pool1d to AvgPool2d."""
    step = along(stride or kernel_size, 1)
    layer = AvgPool2d(along(kernel_size, 1), step, along(padding, 0), ceil_mode, count_include_pad)
    return layer_trial(layer, {}, x, theirs, view=of_rows(x))


def avg_pool2d(
    theirs: Callable[[], Tensor],
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Trial:
    """Put a sample of avg_pool2d to AvgPool2d."""
    if divisor_override is not None:
        raise SkipCase("option divisor_override")
    layer = AvgPool2d(_pair(kernel_size), _pair(stride) or None, _pair(padding), ceil_mode, count_include_pad)
    return layer_trial(layer, {}, x, theirs, view=of_images(x))


def adaptive_avg_pool1d(theirs: Callable[[], Tensor], x: Tensor, output_size: Any) -> Trial:
    """Put a sample of adaptive_avg_pool1d to AdaptiveAvgPool2d."""
    return layer_trial(AdaptiveAvgPool2d(along(output_size, 1)), {}, x, theirs, view=of_rows(x))


def adaptive_avg_pool2d(theirs: Callable[[], Tensor], x: Tensor, output_size: Any) -> Trial:
    """Put a sample of adaptive_avg_pool2d to AdaptiveAvgPool2d; a size of None is the input's."""
    asked = output_size if isinstance(output_size, tuple) else (output_size, output_size)
    high, wide = (own if size is None else size for size, own in zip(asked, x.shape[-2:], strict=True))
    return layer_trial(AdaptiveAvgPool2d((high, wide)), {}, x, theirs, view=of_images(x))


def _pair(value: Any) -> Any:
    """Return a list of one number, which PyTorch takes for both axes, as that number."""
    return value[0] if isinstance(value, (tuple, list)) and len(value) == 1 else value


OPERATORS = (
    Operator("nn.functional.max_pool1d", MaxPool2d, max_pool1d),
    Operator("nn.functional.max_pool2d", MaxPool2d, max_pool2d),
    Operator("nn.functional.max_unpool1d", MaxUnpool2d, max_unpool1d),
    Operator("nn.functional.max_unpool1d", MaxUnpool2d, max_unpool1d, "grad"),
    Operator("nn.functional.max_unpool2d", MaxUnpool2d, max_unpool2d),
    Operator("nn.functional.max_unpool2d", MaxUnpool2d, max_unpool2d, "grad"),
    Operator("nn.functional.avg_pool1d", AvgPool2d, avg_pool1d),
    Operator("nn.functional.avg_pool2d", AvgPool2d, avg_pool2d),
    Operator("nn.functional.adaptive_avg_pool1d", AdaptiveAvgPool2d, adaptive_avg_pool1d),
    Operator("nn.functional.adaptive_avg_pool2d", AdaptiveAvgPool2d, adaptive_avg_pool2d),
)
