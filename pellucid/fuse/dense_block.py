"""The fused form of a dense block, with memory linear instead of quadratic in its depth.

Tests: tests/fuse/test_dense_block.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pellucid.combine.base import Back, Combinator, LayerRun
from pellucid.combine.parallel import Parallel
from pellucid.combine.sequential import Sequential
from pellucid.fuse.activations import CHEAP_ACTIVATIONS, KERNELS
from pellucid.fuse.kernels import batch_norm_gradients
from pellucid.fuse.recompute import normalize
from pellucid.layers.base import Cache, Layer, Mode, Params, memory_format
from pellucid.layers.batchnorm import BatchCache, BatchNorm, RunningCache
from pellucid.layers.concat import Concat
from pellucid.layers.conv2d import Conv2d, Conv2dCache
from pellucid.layers.identity import Identity

update_stats = torch.ops.aten.batch_norm_update_stats
norm_backward = torch.ops.aten.native_batch_norm_backward


@dataclass(frozen=True)
class DenseLayer:
    """One layer of a dense block, from the parts of a Parallel.

    The Parallel is `Parallel({identity_name: Identity(), body_name: Sequential(norm, act, conv, tail)}, Concat())`.
    """

    name: str
    body_name: str
    identity_name: str
    inner_names: tuple[str, str, str]  # the names of norm, act and conv
    norm: BatchNorm
    act: type[Layer]
    conv: Layer
    tail: Layer
    growth: int  # the number of maps that the layer adds

    def body_params(self, params: Params) -> Params:
        """Return the params of the body from the params of the Sequential."""
        return params[self.name][self.body_name]

    def parallel_gradients(self, dbody: Params) -> Params:
        """Return the gradients of the Parallel from the gradients of its body."""
        return {self.identity_name: {}, self.body_name: {self.inner_names[1]: {}, **dbody}, "merge": {}}

    def read_maps(
        self, params: Params, maps: Tensor, mean: Tensor | None, var: Tensor | None
    ) -> tuple[Tensor, BatchCache | RunningCache]:
        """Return the normalized and rectified maps, and the norm's cache.

        mean, var: the batch statistics of all maps of the block; None to use the norm's running statistics.
        """
        cache: BatchCache | RunningCache
        if mean is None or var is None:
            cache = RunningCache(maps)
        else:
            channels = maps.shape[1]
            cache = BatchCache(maps, mean[:channels], torch.rsqrt(var[:channels] + self.norm.epsilon))
        return KERNELS[self.act].forward_inplace(normalize(self.norm, params[self.inner_names[0]], cache)), cache

    def backward_norm(
        self, params: Params, cache: BatchCache | RunningCache, dy: Tensor, dmaps: Tensor, linear_terms: Tensor | None
    ) -> Params:
        """Propagate back through the norm: add its dx to `dmaps`, and return the gradients of its parameters.

        dx = w / σ (dy - db / m - x̂ dw / m), for m values per channel. The terms after dy are linear in the map, for
        each norm that reads it. So they are only summed in `linear_terms` (2, channels), as slope and constant of each
        channel; `complete_gradient` adds them to dmaps once.
        """
        if linear_terms is None or not isinstance(cache, BatchCache):
            dx, dparams = batch_norm_gradients(self.norm, params, cache, dy)
            dmaps.add_(dx)
            return dparams
        x, mean, invstd = cache
        weight = params["weight"]
        running_statistics = (params["running_mean"], params["running_var"])
        output_mask = False, True, True  # dx, dweight, dbias
        _, dweight, dbias = norm_backward(
            dy, x, weight, *running_statistics, mean, invstd, True, self.norm.epsilon, output_mask
        )
        channels = len(weight)
        n_values = dy[:, 0].numel()
        scale = weight * invstd
        dmaps.addcmul_(dy, scale[:, None, None])
        slope = scale * invstd * dweight / n_values
        linear_terms[0, :channels] -= slope
        linear_terms[1, :channels] += mean * slope - scale * dbias / n_values
        return {"weight": dweight, "bias": dbias}


@dataclass(frozen=True)
class DenseBlock(Combinator):
    """Replace consecutive dense layers of a Sequential; the block uses the Sequential's params under their `names`.

    All maps are in one tensor: each layer appends its maps to it, and each norm reads the first channels of it. The
    outputs of the norms and activations are recomputed in the backward pass (Pleiss et al. 2017, "Memory-efficient
    implementation of DenseNets"). The statistics of a map are computed only once, since they are the same for all norms
    that read it.
    """

    dense_layers: tuple[DenseLayer, ...]  # the replaced layers in order
    own_dy: bool  # whether the block's dy may be overwritten, because no other layer reads it

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the layers that the block replaces."""
        return tuple(layer.name for layer in self.dense_layers)

    @property
    def layers(self) -> Mapping[str, Layer]:
        """The layers after the first convolution of each dense layer, by the dense layer's name."""
        return {layer.name: layer.tail for layer in self.dense_layers}

    def rebuild(self, layers: Mapping[str, Layer]) -> "DenseBlock":
        """Return the same block with other layers after the first convolutions."""
        return DenseBlock(tuple(replace(layer, tail=layers[layer.name]) for layer in self.dense_layers), self.own_dy)

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Initialise the layers in order."""
        params: Params = {}
        for layer in self.dense_layers:
            norm, act, conv = layer.inner_names
            norm_params, _ = layer.norm.init(shape, rng)
            conv_params, conv_shape = layer.conv.init(shape, rng)
            tail_params, output_shape = layer.tail.init(conv_shape, rng)
            params[layer.name] = {
                layer.identity_name: {},
                layer.body_name: {norm: norm_params, act: {}, conv: conv_params, **tail_params},
                "merge": {},
            }
            shape = (shape[0] + output_shape[0], *shape[1:])
        return params, shape

    def flow(self, params: Params, x: Tensor, mode: Mode, step: LayerRun) -> tuple[Tensor, Cache]:
        """Run the layers in order, each on all previous maps."""
        channels, height, width = x.shape[1:]
        first_norm_params = self.dense_layers[0].body_params(params)[self.dense_layers[0].inner_names[0]]
        if mode.train and len(x) * height * width <= 1:
            # The norm raises the error for a single value per channel.
            self.dense_layers[0].norm.forward(first_norm_params, x, mode)
        n_maps = channels + sum(layer.growth for layer in self.dense_layers)
        layout = memory_format(x)
        maps = torch.empty(len(x), n_maps, height, width, dtype=x.dtype, device=x.device, memory_format=layout)
        maps[:, :channels] = x
        mean = var = None
        if mode.train:
            mean, var = first_norm_params["running_mean"].new_empty(2, n_maps)
        n_read = 0
        tail_caches = {}
        for layer in self.dense_layers:
            norm, _, conv = layer.inner_names
            body_params = layer.body_params(params)
            if mean is not None and var is not None:
                write_batch_statistics(x, mean[n_read:channels], var[n_read:channels])
                update_running_statistics(
                    layer.norm, body_params[norm], mean[:channels], var[:channels], maps[:, 0].numel()
                )
            previous_maps = maps[:, :channels]
            if maps.dtype is torch.bfloat16:  # its normalization kernel is slow for slices of channels
                previous_maps = previous_maps.contiguous(memory_format=layout)
            x, _ = layer.conv.forward(
                body_params[conv], layer.read_maps(body_params, previous_maps, mean, var)[0], mode
            )
            x, child_cache = step(layer.name, layer.tail, body_params, x, mode)
            n_read = channels
            channels += layer.growth
            maps[:, n_read:channels] = x
            if mode.keep:
                tail_caches[layer.name] = child_cache
        return maps, {"maps": maps, "mean": mean, "var": var, "rows": tail_caches} if mode.keep else {}

    def sweep(self, params: Params, cache: Cache, dy: Tensor, back: Back) -> tuple[Tensor, Params]:
        """Propagate back through the layers in reverse order; each adds its dx to the gradient of the maps it read."""
        maps, mean, var, tail_caches = (cache.pop(name) for name in ("maps", "mean", "var", "rows"))
        layout = memory_format(maps)
        dmaps = dy if self.own_dy else dy.clone()
        channels = maps.shape[1]
        linear_terms = None
        if mean is not None and maps.dtype is not torch.bfloat16:
            linear_terms = mean.new_zeros(2, channels)
        dparams: Params = {}
        for layer in reversed(self.dense_layers):
            norm, _, conv = layer.inner_names
            body_params = layer.body_params(params)
            n_read = channels - layer.growth
            dy = complete_gradient(
                dmaps[:, n_read:channels], maps[:, n_read:channels], linear_terms, slice(n_read, channels), layout
            )
            dy, dtail = back(layer.name, layer.tail, body_params, tail_caches.pop(layer.name), dy)
            y, read_cache = layer.read_maps(body_params, maps[:, :n_read].contiguous(memory_format=layout), mean, var)
            dy, dconv = layer.conv.backward(body_params[conv], Conv2dCache(y), dy)
            dy = KERNELS[layer.act].backward_inplace(dy, y)
            del y
            dnorm = layer.backward_norm(body_params[norm], read_cache, dy, dmaps[:, :n_read], linear_terms)
            dparams[layer.name] = layer.parallel_gradients({norm: dnorm, conv: dconv, **dtail})
            channels = n_read
        return complete_gradient(
            dmaps[:, :channels], maps[:, :channels], linear_terms, slice(channels), layout
        ), dparams


def complete_gradient(
    dmaps: Tensor, maps: Tensor, linear_terms: Tensor | None, channels: slice, layout: torch.memory_format
) -> Tensor:
    """Return the complete gradient of the maps of `channels`: `dmaps` plus the summed `linear_terms`."""
    if linear_terms is None:
        return dmaps.contiguous(memory_format=layout)
    slope, shift = linear_terms[:, channels, None, None]
    return torch.addcmul(dmaps + shift, maps, slope)


def write_batch_statistics(x: Tensor, mean: Tensor, var: Tensor) -> None:
    """Write the batch mean and variance of each channel of x into `mean` and `var`, (C,) each."""
    unused = torch.zeros_like(mean), torch.ones_like(var)  # running statistics; only their dtype matters
    for target, statistic in zip((mean, var), update_stats(x, *unused, 0.0), strict=True):
        target.copy_(statistic)


def update_running_statistics(norm: BatchNorm, params: Params, mean: Tensor, var: Tensor, n_values: int) -> None:
    """Update the running statistics with the mean and variance of a batch with `n_values` values per channel."""
    params["running_mean"].lerp_(mean, norm.momentum)
    params["running_var"].lerp_(var * (n_values / (n_values - 1)), norm.momentum)


def as_dense_layer(name: str, layer: Layer, fuse: Callable[[Layer], Layer]) -> DenseLayer | None:
    """Return the DenseLayer for a layer of a Sequential; None if it is not a layer of a dense block.

    fuse: converts the layer's first convolution, and the Sequential of the layers after it.
    """
    if not (type(layer) is Parallel and layer.merge == Concat() and len(layer.branches) == 2):
        return None
    (identity_name, identity), (body_name, body) = layer.branches.items()
    if not (type(identity) is Identity and type(body) is Sequential and len(body.children) >= 3):
        return None
    (norm_name, norm), (act_name, act), (conv_name, conv), *tail_layers = body.children.items()
    last_layer = [*body.children.values()][-1]
    if not (type(norm) is BatchNorm and type(act) in CHEAP_ACTIVATIONS and type(conv) is Conv2d):
        return None
    if type(last_layer) is not Conv2d:
        return None
    return DenseLayer(
        name=name,
        body_name=body_name,
        identity_name=identity_name,
        inner_names=(norm_name, act_name, conv_name),
        norm=norm,
        act=type(act),
        conv=fuse(conv),
        tail=fuse(Sequential(**dict(tail_layers))),
        growth=last_layer.filters,
    )
