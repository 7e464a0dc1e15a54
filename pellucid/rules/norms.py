"""Normalizations as linear functions of their input, with a constant standard deviation."""

from typing import Any, NamedTuple

from torch import Tensor

from pellucid.layers import GroupNorm, InstanceNorm2d, LayerNorm
from pellucid.layers.base import Cache, Layer, Params
from pellucid.operators import NormalizeChannels, NormalizeGroups, NormalizeLast


class Normalization(NamedTuple):
    """A normalization y = w (x - μ) / σ + b."""

    shape: tuple[int, ...]  # the shape of the layer's input
    x: Tensor  # the input, reshaped so that μ is the mean over `axes`
    axes: tuple[int, ...]
    scale: Tensor  # 1 / σ, which broadcasts to x
    weight: Tensor  # w, 1 if the layer has none; broadcasts to `shape`
    bias: Tensor  # b, 0 if the layer has none; broadcasts to `shape`


def find_normalization(layer: Layer, params: Params, cache: Cache) -> Normalization | None:
    """Return the normalization of a layer that computes μ and σ from its input, None for other layers."""
    if isinstance(layer, LayerNorm):
        return _over_last(cache.x, params, params["weight"].dim(), cache.invstd)
    if isinstance(layer, GroupNorm | InstanceNorm2d):
        groups = layer.groups if isinstance(layer, GroupNorm) else cache.x.shape[1]
        return _over_groups(cache.x, params, groups, cache.invstd)
    if isinstance(layer, NormalizeLast | NormalizeGroups | NormalizeChannels):
        x, *weight_and_bias = cache.xs
        # A normalization may lack the bias, or both.
        affine_params: Params = dict(zip(("weight", "bias"), weight_and_bias, strict=False))
        if isinstance(layer, NormalizeLast):
            return _over_last(x, affine_params, len(layer.shape), cache.invstd)
        if isinstance(layer, NormalizeGroups):
            return _over_groups(x, affine_params, layer.groups, cache.invstd)
        axes = (0, *range(2, x.dim()))
        scale = cache.invstd.view(1, -1, *(1,) * (x.dim() - 2))
        return Normalization(x.shape, x, axes, scale, *_affine(x, affine_params, scale.shape))
    return None


def _over_last(x: Tensor, params: Params, n_axes: int, invstd: Tensor) -> Normalization:
    return Normalization(x.shape, x, tuple(range(-n_axes, 0)), invstd, *_affine(x, params, x.shape[x.dim() - n_axes :]))


def _over_groups(x: Tensor, params: Params, groups: int, invstd: Tensor) -> Normalization:
    grouped = x.reshape(len(x), groups, -1)  # (N, groups, values)
    affine = _affine(x, params, (1, -1, *(1,) * (x.dim() - 2)))
    return Normalization(x.shape, grouped, (-1,), invstd.view(len(x), groups, 1), *affine)


def _affine(x: Tensor, params: Params, shape: Any) -> tuple[Tensor, Tensor]:
    """Return the weight and the bias in a shape that broadcasts to x."""
    weight, bias = params.get("weight"), params.get("bias")
    return x.new_ones(1) if weight is None else weight.view(shape), (
        x.new_zeros(1) if bias is None else bias.view(shape)
    )
