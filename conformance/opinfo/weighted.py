"""Samples of PyTorch's linear map, convolutions and norms, run on our operators whose weights are inputs."""

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from conformance.case import SkipCase
from conformance.opinfo.normalizations import compared_form, skip_negative
from conformance.opinfo.operator import Operator
from conformance.opinfo.tensors import operator_trial
from conformance.trial import Trial
from pellucid.layers import Layer
from pellucid.operators import Convolve, LinearMap, NormalizeChannels, NormalizeGroups, NormalizeLast


def linear_map(reference: Callable[[], Tensor], x: Tensor, *weight_and_bias: Tensor) -> Trial:
    """Return the trial of LinearMap on a sample of linear."""
    if x.dim() < 2 or weight_and_bias[0].dim() < 2:
        raise SkipCase("a vector")
    return operator_trial(LinearMap(), (x, *weight_and_bias), reference)


def convolution_adapter(count: int, transposed: bool = False) -> Callable[..., Trial]:
    """Return the adapter of a convolution over `count` axes."""
    option_names = ("stride", "padding", "output_padding", "groups", "dilation")
    option_names = option_names if transposed else ("stride", "padding", "dilation", "groups")

    def adapt(
        reference: Callable[[], Tensor], x: Tensor, weight: Tensor, bias: Any = None, *positional: Any, **keywords: Any
    ) -> Trial:
        options = {"stride": 1, "padding": 0, "output_padding": 0, "dilation": 1, "groups": 1}
        options |= dict(zip(option_names, positional, strict=False)) | keywords
        if x.dim() != count + 2 or isinstance(options["padding"], str):
            raise SkipCase("no batch axis, or padding by name")
        groups = options.pop("groups")
        axis_options = {name: per_axis(value, count) for name, value in options.items()}
        layer = Convolve(**axis_options, groups=groups, transposed=transposed)
        return operator_trial(layer, (x, weight) if bias is None else (x, weight, bias), reference)

    return adapt


def per_axis(value: Any, count: int) -> tuple[int, ...]:
    """Return a number for each of `count` axes, from one for all axes or one for each."""
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * (count if len(values) == 1 else 1)


def present_inputs(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> tuple[Tensor, ...]:
    """Return x, weight and bias without those that are None; raise SkipCase for a bias without a weight."""
    if weight is None and bias is not None:
        raise SkipCase("a bias without a weight")
    return tuple(tensor for tensor in (x, weight, bias) if tensor is not None)


def normalization_adapter(make: Callable[[Any, float], Layer]) -> Callable[..., Trial]:
    """Return the adapter of a normalization; `make` takes its shape or number of groups, and epsilon."""

    def adapt(
        reference: Callable[[], Tensor],
        x: Tensor,
        setting: Any,
        weight: Any = None,
        bias: Any = None,
        eps: float = 1e-5,
    ) -> Trial:
        skip_negative(eps=eps)
        n_values = math.prod(x.shape[1:]) // setting if isinstance(setting, int) else math.prod(setting)
        layer = compared_form(make(setting, eps), n_values)
        return operator_trial(layer, present_inputs(x, weight, bias), reference)

    return adapt


def normalize_channels(
    reference: Callable[[], Tensor],
    x: Tensor,
    mean: Any,
    var: Any,
    weight: Any = None,
    bias: Any = None,
    **options: Any,
) -> Trial:
    """Return the trial of NormalizeChannels on a sample of batch_norm in training mode.

    The output does not depend on the running statistics. Raises SkipCase in evaluation mode.
    """
    eps = options.get("eps", 1e-5)
    skip_negative(eps=eps)
    if not options.get("training") or not x.numel():
        raise SkipCase("running statistics, or an empty batch")
    layer = compared_form(NormalizeChannels(eps), x.numel() // x.shape[1])
    return operator_trial(layer, present_inputs(x, weight, bias), reference)


OPERATORS = (
    Operator("nn.functional.linear", LinearMap, linear_map),
    *(Operator(f"nn.functional.conv{count}d", Convolve, convolution_adapter(count)) for count in (1, 2, 3)),
    *(
        Operator(f"nn.functional.conv_transpose{count}d", Convolve, convolution_adapter(count, True))
        for count in (1, 2, 3)
    ),
    Operator(
        "nn.functional.layer_norm",
        NormalizeLast,
        normalization_adapter(lambda shape, eps: NormalizeLast(tuple(shape), eps)),
    ),
    Operator("nn.functional.group_norm", NormalizeGroups, normalization_adapter(NormalizeGroups)),
    Operator("nn.functional.batch_norm", NormalizeChannels, normalize_channels),
)
