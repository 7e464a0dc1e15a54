"""Samples of PyTorch's normalizations.

If a module has no scale or no shift, that of our layer is 1 or 0, and its gradient is not compared.
"""

from typing import Any

import torch
from torch import Tensor

from conformance.case import SkipCase
from conformance.moduleinfo.module import ConvertedModule, layer_module
from conformance.trial import AS_IS, ONE_ROW, View
from conformance.views import spatial_view
from pellucid.layers import BatchNorm, GroupNorm, InstanceNorm2d, LayerNorm, LocalResponseNorm, Mode, Params


def batch_norm(module: Any, x: Tensor) -> ConvertedModule:
    """Convert a BatchNormNd to BatchNorm, which is always in training mode if the module has no running statistics."""
    if module.training and module.momentum is None:
        raise SkipCase("option momentum=None")
    if module.training and not x.numel():
        raise SkipCase("training on an empty batch")
    momentum = module.momentum if module.training else 0.1  # any value: it is not used in evaluation mode
    statistics = {"running_mean": x.new_zeros(x.shape[1]), "running_var": x.new_ones(x.shape[1])}
    tracks = module.track_running_stats
    constant_params = _missing_affine(module, x, (x.shape[1],)) | ({} if tracks else statistics)
    layer = BatchNorm(momentum, module.eps)
    return ConvertedModule(
        layer, _sequence_view(x), constant_params=constant_params, mode=None if tracks else Mode(train=True)
    )


def group_norm(module: Any, x: Tensor) -> ConvertedModule:
    """Convert PyTorch's GroupNorm to ours."""
    return ConvertedModule(
        GroupNorm(module.num_groups, module.eps),
        _sequence_view(x),
        constant_params=_missing_affine(module, x, (module.num_channels,)),
    )


def instance_norm(module: Any, x: Tensor) -> ConvertedModule:
    """Convert an InstanceNormNd to InstanceNorm2d."""
    if module.track_running_stats:
        raise SkipCase("option track_running_stats")
    constant_params = _missing_affine(module, x, (module.num_features,)) if module.affine else {}
    axes = 1 if isinstance(module, torch.nn.InstanceNorm1d) else 2
    return ConvertedModule(
        InstanceNorm2d(module.eps, module.affine), spatial_view(x, axes), constant_params=constant_params
    )


def layer_norm(module: Any, x: Tensor) -> ConvertedModule:
    """Convert PyTorch's LayerNorm to ours."""
    shape = tuple(module.normalized_shape)
    return ConvertedModule(LayerNorm(shape, module.eps), constant_params=_missing_affine(module, x, shape))


def local_response_norm(module: Any, x: Tensor) -> ConvertedModule:
    """Convert PyTorch's LocalResponseNorm to ours, with the spatial axes joined to one: pixels are independent."""
    view = View(lambda x: x.flatten(2).unsqueeze(-2), lambda y: y.reshape(x.shape))
    return ConvertedModule(LocalResponseNorm(module.size, module.alpha, module.beta, module.k), view)


def _missing_affine(module: Any, x: Tensor, shape: tuple[int, ...]) -> Params:
    """Return ones for a missing `weight` and zeros for a missing `bias` of the module, by name."""
    defaults = {"weight": x.new_ones(shape), "bias": x.new_zeros(shape)}
    return {name: tensor for name, tensor in defaults.items() if getattr(module, name) is None}


def _sequence_view(x: Tensor) -> View:
    """Return the view of (N, C, L) as images of one row; (N, C) and (N, C, H, W) stay unchanged."""
    return ONE_ROW if x.dim() == 3 else AS_IS


MODULES = (
    layer_module("nn.BatchNorm1d", BatchNorm, batch_norm),
    layer_module("nn.BatchNorm2d", BatchNorm, batch_norm),
    layer_module("nn.GroupNorm", GroupNorm, group_norm),
    layer_module("nn.InstanceNorm1d", InstanceNorm2d, instance_norm),
    layer_module("nn.InstanceNorm2d", InstanceNorm2d, instance_norm),
    layer_module("nn.LayerNorm", LayerNorm, layer_norm),
    layer_module("nn.LocalResponseNorm", LocalResponseNorm, local_response_norm),
)
