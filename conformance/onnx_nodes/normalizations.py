"""Nodes of ONNX's normalizations and of Dropout."""

import torch
from torch import Tensor

from conformance.case import SkipCase
from conformance.onnx_nodes.operator import Operator, Outputs, forward, image_view
from conformance.trial import AS_IS, UNBATCHED
from pellucid.layers import (
    BatchNorm,
    Dropout,
    GroupNorm,
    InstanceNorm2d,
    LayerNorm,
    LocalResponseNorm,
    Mode,
)


def batch_normalization(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    mean: Tensor,
    var: Tensor,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
) -> Outputs:
    """Return the outputs of a BatchNormalization node, computed by BatchNorm.

    ONNX's `momentum` is the weight of the old running statistics, ours that of the batch's. ONNX's running
    variance uses the biased variance of the batch, ours the unbiased one, which is n / (n - 1) times as large.
    """
    view = AS_IS if x.dim() == 2 else image_view(x)
    params = {"weight": scale, "bias": bias, "running_mean": mean.clone(), "running_var": var.clone()}
    layer = BatchNorm(1 - momentum, epsilon)
    y, _ = forward(layer, view.lift(x), params, Mode(train=bool(training_mode)))
    if not training_mode:
        return (view.drop(y),)
    n = x.numel() // x.shape[1]  # values of a channel
    kept_variance = momentum * var
    return view.drop(y), params["running_mean"], kept_variance + (params["running_var"] - kept_variance) * (n - 1) / n


def batch_normalization_before_7(
    *tensors: Tensor, is_test: int = 0, spatial: int = 1, **further_attributes: float
) -> Outputs:
    """Return the outputs of a BatchNormalization node of a version before 7, in evaluation mode (`is_test`)."""
    if not is_test:
        raise SkipCase("attribute is_test=0")
    if not spatial:
        raise SkipCase("attribute spatial=0")
    return batch_normalization(*tensors, **further_attributes)


def instance_normalization(x: Tensor, scale: Tensor, bias: Tensor, *, epsilon: float = 1e-5) -> Outputs:
    """Return the outputs of an InstanceNormalization node, computed by InstanceNorm2d."""
    view = image_view(x)
    layer = InstanceNorm2d(epsilon, affine=True)
    return (view.drop(forward(layer, view.lift(x), {"weight": scale, "bias": bias})[0]),)


def group_normalization(
    x: Tensor, scale: Tensor, bias: Tensor, *, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1
) -> Outputs:
    """Return the outputs of a GroupNormalization node, computed by GroupNorm.

    `stash_type` 1 means float32 inside the node; for inputs of float32 our layer also computes in float32.
    """
    view = AS_IS if x.dim() == 2 else image_view(x)
    layer = GroupNorm(num_groups, epsilon)
    return (view.drop(forward(layer, view.lift(x), {"weight": scale, "bias": bias})[0]),)


def layer_normalization(
    x: Tensor,
    scale: Tensor,
    bias: Tensor | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> Outputs:
    """Return the outputs of a LayerNormalization node, computed by LayerNorm.

    For axis 0, x gets an additional batch axis.
    """
    axis = axis % x.dim()
    normalized_shape = tuple(x.shape[axis:])
    view = AS_IS if axis else UNBATCHED
    weight = scale.expand(normalized_shape)
    params = {"weight": weight, "bias": torch.zeros_like(weight) if bias is None else bias.expand(normalized_shape)}
    y, cache = forward(LayerNorm(normalized_shape, epsilon), view.lift(x), params)
    return view.drop(y), view.drop(cache.mean), view.drop(cache.invstd)


def local_response_normalization(
    x: Tensor, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0
) -> Outputs:
    """Return the outputs of an LRN node, computed by LocalResponseNorm."""
    if size % 2 == 0:  # then ONNX's window has one more channel after the centre, ours one more before it
        raise SkipCase("attribute size, even")
    view = image_view(x)
    return (view.drop(forward(LocalResponseNorm(size, alpha, beta, bias), view.lift(x))[0]),)


def dropout(
    x: Tensor, rate: Tensor | None = None, training: Tensor | None = None, *, ratio: float = 0.5, seed: int = 0
) -> Outputs:
    """Return the outputs of a Dropout node, computed by Dropout; up to version 11, the rate is an attribute."""
    drop_rate = ratio if rate is None else float(rate)
    train = training is not None and bool(training)
    if train and drop_rate > 0:
        raise SkipCase("a mask drawn by NumPy")
    y, cache = forward(Dropout(drop_rate), x, mode=Mode(train, torch.Generator()))
    return y, cache.mask


OPERATORS = {
    "BatchNormalization": Operator(
        BatchNorm, batch_normalization, since=7, older=Operator(BatchNorm, batch_normalization_before_7, since=6)
    ),
    "InstanceNormalization": Operator(InstanceNorm2d, instance_normalization, since=6),
    "GroupNormalization": Operator(GroupNorm, group_normalization, since=21),
    "LayerNormalization": Operator(LayerNorm, layer_normalization, since=17),
    "LRN": Operator(LocalResponseNorm, local_response_normalization),
    "Dropout": Operator(Dropout, dropout, since=7),
}
