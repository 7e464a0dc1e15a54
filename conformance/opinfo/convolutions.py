"""Samples of PyTorch's convolutions; 1-D convolutions run on images of one row."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from conformance.opinfo.operator import Operator
from conformance.trial import AS_IS, ONE_ROW, ForwardPass, Trial
from conformance.views import image_option, spatial_view
from pellucid.layers import Conv2d, ConvTranspose2d, Layer, Mode


def conv(
    reference: Callable[[], Tensor],
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    axes: int,
) -> Trial:
    """Return the trial of Conv2d on a sample of a convolution over one or two `axes`."""
    layer = Conv2d(
        len(weight),
        image_option(tuple(weight.shape[2:]), axes, 1),
        stride=image_option(stride, axes, 1),
        padding=image_option(padding, axes, 0),
        dilation=image_option(dilation, axes, 1),
        groups=groups,
        bias=bias is not None,
    )
    return conv_trial(reference, layer, x, weight, bias, axes)


def conv_transpose(
    reference: Callable[[], Tensor],
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
    *,
    axes: int,
) -> Trial:
    """Return the trial of ConvTranspose2d on a sample of a transposed convolution over one or two `axes`."""
    layer = ConvTranspose2d(
        groups * weight.shape[1],
        image_option(tuple(weight.shape[2:]), axes, 1),
        stride=image_option(stride, axes, 1),
        padding=image_option(padding, axes, 0),
        output_padding=image_option(output_padding, axes, 0),
        dilation=image_option(dilation, axes, 1),
        groups=groups,
        bias=bias is not None,
    )
    return conv_trial(reference, layer, x, weight, bias, axes)


def conv_trial(
    reference: Callable[[], Tensor], layer: Layer, x: Tensor, weight: Tensor, bias: Tensor | None, axes: int
) -> Trial:
    """Return the trial of `layer` for an input and a weight with one or two spatial `axes`."""
    view, kernel = spatial_view(x, axes), ONE_ROW if axes == 1 else AS_IS
    parameters = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}

    def forward() -> ForwardPass:
        params = {**parameters, "weight": kernel.lift(weight)}
        y, cache = layer.forward(params, view.lift(x), Mode())

        def backward(dy: Tensor) -> dict[str, Tensor]:
            dx, dparams = layer.backward(params, cache, view.lift(dy))
            return {"x": view.drop(dx), **dparams, "weight": kernel.drop(dparams["weight"])}

        return ForwardPass((view.drop(y),), backward)

    return Trial({"x": x, **parameters}, lambda: (reference(),), forward)


OPERATORS = (
    Operator("nn.functional.conv1d", Conv2d, partial(conv, axes=1)),
    Operator("nn.functional.conv2d", Conv2d, partial(conv, axes=2)),
    Operator("nn.functional.conv_transpose1d", ConvTranspose2d, partial(conv_transpose, axes=1)),
    Operator("nn.functional.conv_transpose2d", ConvTranspose2d, partial(conv_transpose, axes=2)),
)
