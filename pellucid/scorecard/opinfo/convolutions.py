"""Samples of PyTorch's convolutions and of its linear map."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from pellucid.layers import Conv2d, ConvTranspose2d, Dense, Layer, Mode
from pellucid.scorecard.opinfo.operator import Operator
from pellucid.scorecard.opinfo.views import along, of_images, of_rows
from pellucid.scorecard.trial import AS_IS, ONE_ROW, UNBATCHED, Ours, Trial, View, layer_trial


def conv1d(
    theirs: Callable[[], Tensor],
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Trial:
    """Put a sample of conv1d to Conv2d."""
    edges = _padding(padding) if isinstance(padding, str) else along(padding, 0)
    layer = Conv2d(
        len(weight), (1, weight.shape[2]), along(stride, 1), edges, along(dilation, 1), groups, bias is not None
    )
    return _trial(theirs, layer, x, weight, bias, of_rows(x), ONE_ROW)


def conv2d(
    theirs: Callable[[], Tensor],
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Trial:
    """Put a sample of conv2d to Conv2d."""
    high, wide = weight.shape[2:]
    layer = Conv2d(len(weight), (high, wide), stride, _padding(padding), dilation, groups, bias is not None)
    return _trial(theirs, layer, x, weight, bias, of_images(x), AS_IS)


def conv_transpose1d(
    theirs: Callable[[], Tensor],
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Trial:
    """Put a sample of conv_transpose1d to ConvTranspose2d."""
    layer = ConvTranspose2d(
        groups * weight.shape[1],
        (1, weight.shape[2]),
        along(stride, 1),
        along(padding, 0),
        along(output_padding, 0),
        along(dilation, 1),
        groups,
        bias is not None,
    )
    return _trial(theirs, layer, x, weight, bias, of_rows(x), ONE_ROW)


def conv_transpose2d(
    theirs: Callable[[], Tensor],
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Trial:
    """Put a sample of conv_transpose2d to ConvTranspose2d."""
    high, wide = weight.shape[2:]
    layer = ConvTranspose2d(
        groups * weight.shape[1], (high, wide), stride, padding, output_padding, dilation, groups, bias is not None
    )
    return _trial(theirs, layer, x, weight, bias, of_images(x), AS_IS)


def linear(theirs: Callable[[], Tensor], x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Trial:
    """Put a sample of linear to Dense."""
    params = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    layer = Dense(len(weight), bias is not None)
    return layer_trial(layer, params, x, theirs, view=AS_IS if x.dim() > 1 else UNBATCHED)


def _padding(padding: Any) -> Any:
    """Return PyTorch's word for no padding as that."""
    return 0 if padding == "valid" else padding


def _trial(
    theirs: Callable[[], Tensor],
    layer: Layer,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    view: View,
    window: View,
) -> Trial:
    """Return the trial of a convolution: x is seen through `view`, the weight through `window`."""
    learned = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}

    def ours() -> Ours:
        params = {**learned, "weight": window.lift(weight)}
        y, cache = layer.forward(params, view.lift(x), Mode())

        def pull(dy: Tensor) -> dict[str, Tensor]:
            dx, dparams = layer.backward(params, cache, view.lift(dy))
            return {"x": view.drop(dx), **dparams, "weight": window.drop(dparams["weight"])}

        return Ours((view.drop(y),), pull)

    return Trial({"x": x, **learned}, lambda: (theirs(),), ours)


OPERATORS = (
    Operator("nn.functional.conv1d", Conv2d, conv1d),
    Operator("nn.functional.conv2d", Conv2d, conv2d),
    Operator("nn.functional.conv_transpose1d", ConvTranspose2d, conv_transpose1d),
    Operator("nn.functional.conv_transpose2d", ConvTranspose2d, conv_transpose2d),
    Operator("nn.functional.linear", Dense, linear),
)
