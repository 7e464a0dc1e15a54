"""Samples of PyTorch's convolutions; those over one axis run on images of one row."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from conformance.opinfo.operator import Operator
from conformance.trial import AS_IS, ONE_ROW, Ours, Trial
from conformance.views import of_space, option_of_images
from pellucid.layers import Conv2d, ConvTranspose2d, Layer, Mode


def conv(
    theirs: Callable[[], Tensor],
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
    """Put a sample of a convolution over one or two `axes` to Conv2d."""
    layer = Conv2d(
        len(weight),
        option_of_images(tuple(weight.shape[2:]), axes, 1),
        stride=option_of_images(stride, axes, 1),
        padding=option_of_images(padding, axes, 0),
        dilation=option_of_images(dilation, axes, 1),
        groups=groups,
        bias=bias is not None,
    )
    return conv_trial(theirs, layer, x, weight, bias, axes)


def conv_transpose(
    theirs: Callable[[], Tensor],
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
    """Put a sample of a transposed convolution over one or two `axes` to ConvTranspose2d."""
    layer = ConvTranspose2d(
        groups * weight.shape[1],
        option_of_images(tuple(weight.shape[2:]), axes, 1),
        stride=option_of_images(stride, axes, 1),
        padding=option_of_images(padding, axes, 0),
        output_padding=option_of_images(output_padding, axes, 0),
        dilation=option_of_images(dilation, axes, 1),
        groups=groups,
        bias=bias is not None,
    )
    return conv_trial(theirs, layer, x, weight, bias, axes)


def conv_trial(
    theirs: Callable[[], Tensor], layer: Layer, x: Tensor, weight: Tensor, bias: Tensor | None, axes: int
) -> Trial:
    """Return the trial of a convolution whose input and weight are over `axes`."""
    view, kernel = of_space(x, axes), ONE_ROW if axes == 1 else AS_IS
    learned = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}

    def ours() -> Ours:
        params = {**learned, "weight": kernel.lift(weight)}
        y, cache = layer.forward(params, view.lift(x), Mode())

        def pull(dy: Tensor) -> dict[str, Tensor]:
            dx, dparams = layer.backward(params, cache, view.lift(dy))
            return {"x": view.drop(dx), **dparams, "weight": kernel.drop(dparams["weight"])}

        return Ours((view.drop(y),), pull)

    return Trial({"x": x, **learned}, lambda: (theirs(),), ours)


OPERATORS = (
    Operator("nn.functional.conv1d", Conv2d, partial(conv, axes=1)),
    Operator("nn.functional.conv2d", Conv2d, partial(conv, axes=2)),
    Operator("nn.functional.conv_transpose1d", ConvTranspose2d, partial(conv_transpose, axes=1)),
    Operator("nn.functional.conv_transpose2d", ConvTranspose2d, partial(conv_transpose, axes=2)),
)
