"""Samples of PyTorch's normalizations."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from conformance.case import SkipCase
from conformance.opinfo.operator import Operator
from conformance.trial import AS_IS, ONE_ROW, UNBATCHED, ForwardPass, Trial, View, layer_trial
from pellucid.fuse.kernel_form import kernel_form
from pellucid.layers import BatchNorm, GroupNorm, InstanceNorm2d, Layer, LayerNorm, LocalResponseNorm, Mode


def with_constants(trial: Trial, names: Sequence[str]) -> Trial:
    """Return the trial without comparison of the gradients of the tensors `names`."""

    def forward() -> ForwardPass:
        outputs, backward = trial.forward()
        return ForwardPass(outputs, lambda dy: {name: dx for name, dx in backward(dy).items() if name not in names})

    return replace(trial, tensors={name: x for name, x in trial.tensors.items() if name not in names}, forward=forward)


def compared_form(layer: Layer, n_values: int) -> Layer:
    """Return the layer, or its form with PyTorch's kernel, which trains, if a mean is over one or two values.

    dx is then 0 up to terms of ε / σ², a difference of equal terms: what is left are rounding errors, those of the
    kernel. In float64 the formula is compared for these sizes too, by tests/fuse/test_kernels.py.
    """
    return kernel_form(layer) if n_values <= 2 else layer


def norm_trial(
    layer: BatchNorm | GroupNorm | InstanceNorm2d | LayerNorm,
    shape: Sequence[int],
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    reference: Callable[[], Tensor],
    n_values: int,
    view: View = AS_IS,
) -> Trial:
    """Return the trial of a norm; a missing `weight` is ones and a missing `bias` zeros of `shape`.

    n_values: the number of values of one mean.
    """
    sample_params = {"weight": weight, "bias": bias}
    params = {
        "weight": x.new_ones(tuple(shape)) if weight is None else weight,
        "bias": x.new_zeros(tuple(shape)) if bias is None else bias,
    }
    trial = layer_trial(compared_form(layer, n_values), params, x, reference, view=view)
    return with_constants(trial, [name for name, tensor in sample_params.items() if tensor is None])


def skip_negative(**values: float) -> None:
    """Raise SkipCase if a value is negative, which our layers refuse."""
    for name, value in values.items():
        if value < 0:
            raise SkipCase(f"{name} below 0")


def batch_norm(
    reference: Callable[[], Tensor],
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Trial:
    """Return the trial of BatchNorm on a sample of batch_norm; running statistics are compared as outputs too.

    PyTorch updates the sample's running statistics in place, so they are restored before each call.
    """
    skip_negative(eps=eps)
    if training:
        skip_negative(momentum=momentum)
        if not x.numel():
            raise SkipCase("training on an empty batch")
    view = AS_IS if x.dim() > 1 else UNBATCHED
    channels = view.lift(x).shape[1:2]
    initial_statistics = (
        x.new_zeros(channels) if running_mean is None else running_mean.clone(),
        x.new_ones(channels) if running_var is None else running_var.clone(),
    )
    running_statistics = [] if running_mean is None or running_var is None else [running_mean, running_var]
    params = {
        "weight": x.new_ones(channels) if weight is None else weight,
        "bias": x.new_zeros(channels) if bias is None else bias,
    }
    sample_params = {"weight": weight, "bias": bias}
    layer = BatchNorm(momentum if training else 0.1, eps)  # not used in evaluation mode
    compared_layer = compared_form(layer, x.numel() // channels[0]) if training else layer

    def reference_outputs() -> tuple[Tensor, ...]:
        for tensor, value in zip(
            running_statistics, initial_statistics, strict=False
        ):  # not strict: `running_statistics` is empty if the sample has none
            tensor.copy_(value)
        return (reference(), *(tensor.clone() for tensor in running_statistics))

    def forward() -> ForwardPass:
        mean, var = (value.clone() for value in initial_statistics)
        own_params = {**params, "running_mean": mean, "running_var": var}
        y, cache = compared_layer.forward(own_params, view.lift(x), Mode(train=training))

        def backward(dy: Tensor) -> dict[str, Tensor]:
            dx, dparams = compared_layer.backward(own_params, cache, view.lift(dy))
            return {"x": view.drop(dx), **dparams}

        return ForwardPass((view.drop(y), *((mean, var) if running_statistics else ())), backward)

    return with_constants(
        Trial({"x": x, **params}, reference_outputs, forward),
        [name for name in sample_params if sample_params[name] is None],
    )


def native_batch_norm(
    reference: Callable[[], tuple[Tensor, ...]],
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    *options: Any,
) -> Trial:
    """Return the trial of BatchNorm on a sample of native_batch_norm, of which only the first output is compared."""
    return batch_norm(lambda: reference()[0], x, running_mean, running_var, weight, bias, *options)


def batch_norm_with_update(reference: Callable[[], tuple[Tensor, ...]], x: Tensor, *arguments: Any) -> Trial:
    """Return the trial of BatchNorm on a sample of _batch_norm_with_update, which is always in training mode."""
    *tensors, momentum, eps = arguments
    weight, bias, running_mean, running_var = tensors
    return native_batch_norm(reference, x, weight, bias, running_mean, running_var, True, momentum, eps)


def native_batch_norm_legit(reference: Callable[[], tuple[Tensor, ...]], x: Tensor, *arguments: Any) -> Trial:
    """Return the trial of BatchNorm on a sample of _native_batch_norm_legit, in which statistics may be omitted."""
    weight, bias, *statistics, training, momentum, eps = arguments
    mean, var = statistics or (None, None)
    return native_batch_norm(reference, x, weight, bias, mean, var, training, momentum, eps)


def group_norm(
    reference: Callable[[], Tensor],
    x: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Trial:
    """Return the trial of GroupNorm on a sample of group_norm."""
    skip_negative(eps=eps)
    n_values = math.prod(x.shape[1:]) // num_groups
    return norm_trial(GroupNorm(num_groups, eps), x.shape[1:2], x, weight, bias, reference, n_values)


def native_group_norm(
    reference: Callable[[], tuple[Tensor, ...]],
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    n: int,
    c: int,
    pixels: int,
    groups: int,
    eps: float,
) -> Trial:
    """Return the trial of GroupNorm on a sample of native_group_norm."""
    return group_norm(lambda: reference()[0], x, groups, weight, bias, eps)


def instance_norm(
    reference: Callable[[], Tensor],
    x: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Trial:
    """Return the trial of InstanceNorm2d, which has no running statistics, on a sample of instance_norm.

    With `use_input_stats`, the output depends neither on running statistics nor on the momentum.
    """
    skip_negative(eps=eps)
    if not use_input_stats:
        raise SkipCase("option use_input_stats=False")
    view = AS_IS if x.dim() == 4 else ONE_ROW
    n_values = math.prod(x.shape[2:])
    return norm_trial(InstanceNorm2d(eps, affine=True), x.shape[1:2], x, weight, bias, reference, n_values, view)


def layer_norm(
    reference: Callable[[], Tensor],
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Trial:
    """Return the trial of LayerNorm on a sample of layer_norm."""
    skip_negative(eps=eps)
    view = AS_IS if x.dim() > len(normalized_shape) else UNBATCHED
    layer = LayerNorm(tuple(normalized_shape), eps)
    return norm_trial(layer, normalized_shape, x, weight, bias, reference, math.prod(normalized_shape), view)


def native_layer_norm(reference: Callable[[], tuple[Tensor, ...]], x: Tensor, *args: Any) -> Trial:
    """Return the trial of LayerNorm on a sample of native_layer_norm."""
    return layer_norm(lambda: reference()[0], x, *args)


def local_response_norm(
    reference: Callable[[], Tensor], x: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Trial:
    """Return the trial of LocalResponseNorm on a sample of local_response_norm."""
    view = AS_IS if x.dim() == 4 else ONE_ROW
    return layer_trial(LocalResponseNorm(size, alpha, beta, k), {}, x, reference, view=view)


OPERATORS = (
    Operator("nn.functional.batch_norm", BatchNorm, batch_norm),
    Operator("nn.functional.batch_norm", BatchNorm, batch_norm, "without_cudnn"),
    Operator("native_batch_norm", BatchNorm, native_batch_norm),
    Operator("_native_batch_norm_legit", BatchNorm, native_batch_norm_legit),
    Operator("_batch_norm_with_update", BatchNorm, batch_norm_with_update),
    Operator("nn.functional.group_norm", GroupNorm, group_norm),
    Operator("native_group_norm", GroupNorm, native_group_norm),
    Operator("nn.functional.instance_norm", InstanceNorm2d, instance_norm),
    Operator("nn.functional.layer_norm", LayerNorm, layer_norm),
    Operator("native_layer_norm", LayerNorm, native_layer_norm),
    Operator("nn.functional.local_response_norm", LocalResponseNorm, local_response_norm),
)
