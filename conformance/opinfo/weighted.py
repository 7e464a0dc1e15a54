"""Samples of PyTorch's linear map, convolution and norms, whose weights are inputs of our operators."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from conformance.case import SkipCase
from conformance.opinfo.normalizations import skip_negative
from conformance.opinfo.operator import Operator
from conformance.opinfo.tensors import whole_trial
from conformance.trial import Trial
from pellucid.layers import Layer
from pellucid.operators import Convolve, LinearMap, NormalizeChannels, NormalizeGroups, NormalizeLast


def linear_map(theirs: Callable[[], Tensor], x: Tensor, *rest: Tensor) -> Trial:
    """Put a sample of linear to LinearMap."""
    if x.dim() < 2 or rest[0].dim() < 2:
        raise SkipCase("a vector")
    return whole_trial(LinearMap(), (x, *rest), theirs)


def convolve(count: int, transposed: bool = False) -> Callable[..., Trial]:
    """Return the adapter of a convolution over `count` axes."""
    names = ("stride", "padding", "output_padding", "groups", "dilation")
    names = names if transposed else ("stride", "padding", "dilation", "groups")

    def adapt(
        theirs: Callable[[], Tensor], x: Tensor, weight: Tensor, bias: Any = None, *rest: Any, **given: Any
    ) -> Trial:
        options = {"stride": 1, "padding": 0, "output_padding": 0, "dilation": 1, "groups": 1}
        options |= dict(zip(names, rest, strict=False)) | given
        if x.dim() != count + 2 or isinstance(options["padding"], str):
            raise SkipCase("no batch axis, or padding by name")
        groups = options.pop("groups")
        each = {name: of_axes(value, count) for name, value in options.items()}
        layer = Convolve(**each, groups=groups, transposed=transposed)
        return whole_trial(layer, (x, weight) if bias is None else (x, weight, bias), theirs)

    return adapt


def of_axes(value: Any, count: int) -> tuple[int, ...]:
    """Return one number for all axes, or one for each, as one for each."""
    given = (value,) if isinstance(value, int) else tuple(value)
    return given * (count if len(given) == 1 else 1)


def given(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> tuple[Tensor, ...]:
    """Return the inputs of a normalization whose weight and bias are inputs too."""
    if weight is None and bias is not None:
        raise SkipCase("a bias without a weight")
    return tuple(tensor for tensor in (x, weight, bias) if tensor is not None)


def normalize(make: Callable[[Any, float], Layer]) -> Callable[..., Trial]:
    """Return the adapter of a normalization with one setting and an epsilon: its shape, or its number of groups."""

    def adapt(
        theirs: Callable[[], Tensor], x: Tensor, setting: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
    ) -> Trial:
        skip_negative(eps=eps)
        return whole_trial(make(setting, eps), given(x, weight, bias), theirs)

    return adapt


def normalize_channels(
    theirs: Callable[[], Tensor], x: Tensor, mean: Any, var: Any, weight: Any = None, bias: Any = None, **options: Any
) -> Trial:
    """Put a sample of batch_norm in training, whose output is without running statistics, to NormalizeChannels."""
    eps = options.get("eps", 1e-5)
    skip_negative(eps=eps)
    if not options.get("training") or not x.numel():
        raise SkipCase("running statistics, or an empty batch")
    return whole_trial(NormalizeChannels(eps), given(x, weight, bias), theirs)


OPERATORS = (
    Operator("nn.functional.linear", LinearMap, linear_map),
    *(Operator(f"nn.functional.conv{count}d", Convolve, convolve(count)) for count in (1, 2, 3)),
    *(Operator(f"nn.functional.conv_transpose{count}d", Convolve, convolve(count, True)) for count in (1, 2, 3)),
    Operator("nn.functional.layer_norm", NormalizeLast, normalize(lambda shape, eps: NormalizeLast(tuple(shape), eps))),
    Operator("nn.functional.group_norm", NormalizeGroups, normalize(NormalizeGroups)),
    Operator("nn.functional.batch_norm", NormalizeChannels, normalize_channels),
)
