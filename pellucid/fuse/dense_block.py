"""The fused form of a dense block, with memory linear instead of quadratic in its depth."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pellucid.combine.base import Back, Combinator, LayerRun
from pellucid.combine.parallel import Parallel
from pellucid.combine.sequential import Sequential
from pellucid.fuse.activations import CHEAP, KERNELS
from pellucid.fuse.recompute import normalized
from pellucid.layers.base import Cache, Layer, Mode, Params, memory_format
from pellucid.layers.batchnorm import BatchCache, BatchNorm, RunningCache
from pellucid.layers.concat import Concat
from pellucid.layers.conv2d import Conv2d, Conv2dCache
from pellucid.layers.identity import Identity

update_stats = torch.ops.aten.batch_norm_update_stats
norm_backward = torch.ops.aten.native_batch_norm_backward


@dataclass(frozen=True)
class DenseLayer:
    """One layer of a block: `Parallel({before: Identity(), body: Sequential(norm, act, conv, rest)}, Concat())`."""

    name: str
    body: str
    before: str
    inner: tuple[str, str, str]  # the names of norm, act and conv
    norm: BatchNorm
    act: type[Layer]
    conv: Layer
    rest: Layer
    growth: int  # the number of maps that the layer adds

    def own(self, params: Params) -> Params:
        """Return the params of the body from the params of the Sequential."""
        return params[self.name][self.body]

    def parallel_gradients(self, dbody: Params) -> Params:
        """Return the gradients of the Parallel from the gradients of its body."""
        return {self.before: {}, self.body: {self.inner[1]: {}, **dbody}, "merge": {}}

    def read(
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
        return KERNELS[self.act].over(normalized(self.norm, params[self.inner[0]], cache)), cache

    def send(
        self, params: Params, cache: BatchCache | RunningCache, dy: Tensor, dmaps: Tensor, later: Tensor | None
    ) -> Params:
        """Propagate back through the norm: add its dx to `dmaps`, and return the gradients of its parameters.

        dx = w / σ (dy - db / m - x̂ dw / m). The terms after dy are linear in the maps for all norms that read a map,
        so they are only summed in `later` (2, channels), as slope and constant of each channel, and added to dmaps
        once, by `arrived`.
        """
        if later is None or not isinstance(cache, BatchCache):
            dx, dparams = self.norm.backward(params, cache, dy)
            dmaps.add_(dx)
            return dparams
        x, mean, invstd = cache
        weight, running = params["weight"], (params["running_mean"], params["running_var"])
        needed = False, True, True  # dx, dweight, dbias
        _, dweight, dbias = norm_backward(dy, x, weight, *running, mean, invstd, True, self.norm.epsilon, needed)
        channels, count = len(weight), dy[:, 0].numel()
        scale = weight * invstd
        dmaps.addcmul_(dy, scale[:, None, None])
        slope = scale * invstd * dweight / count
        later[0, :channels] -= slope
        later[1, :channels] += mean * slope - scale * dbias / count
        return {"weight": dweight, "bias": dbias}


@dataclass(frozen=True)
class DenseBlock(Combinator):
    """Replace consecutive dense layers of a Sequential, whose params they share by their `names`.

    All maps are in one tensor: each layer appends its maps to it, and each norm reads the first channels of it. The
    outputs of the norms and activations are recomputed in the backward pass (Pleiss et al. 2017, "Memory-efficient
    implementation of DenseNets"). The statistics of a map are computed only once, since they are the same for all norms
    that read it. rows: the replaced layers in order. own_dy: whether no other layer reads the block's dy, so that it
    may be overwritten.
    """

    rows: tuple[DenseLayer, ...]
    own_dy: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the layers that this replaces."""
        return tuple(row.name for row in self.rows)

    @property
    def layers(self) -> Mapping[str, Layer]:
        """The layers after the first convolution of each layer, by the layer's name."""
        return {row.name: row.rest for row in self.rows}

    def rebuild(self, layers: Mapping[str, Layer]) -> "DenseBlock":
        """Return the same block with other layers after the first convolutions."""
        return DenseBlock(tuple(replace(row, rest=layers[row.name]) for row in self.rows), self.own_dy)

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Initialise the layers in order."""
        params: Params = {}
        for row in self.rows:
            norm, act, conv = row.inner
            first, _ = row.norm.init(shape, rng)
            second, inside = row.conv.init(shape, rng)
            rest, out = row.rest.init(inside, rng)
            params[row.name] = {row.before: {}, row.body: {norm: first, act: {}, conv: second, **rest}, "merge": {}}
            shape = (shape[0] + out[0], *shape[1:])
        return params, shape

    def flow(self, params: Params, x: Tensor, mode: Mode, step: LayerRun) -> tuple[Tensor, Cache]:
        """Run the layers in order, each on all previous maps."""
        channels, height, width = x.shape[1:]
        first = self.rows[0].own(params)[self.rows[0].inner[0]]
        if mode.train and len(x) * height * width <= 1:
            self.rows[0].norm.forward(first, x, mode)  # raises the error for a single value per channel
        total = channels + sum(row.growth for row in self.rows)
        form = memory_format(x)
        maps = torch.empty(len(x), total, height, width, dtype=x.dtype, device=x.device, memory_format=form)
        maps[:, :channels] = x
        mean = var = None
        if mode.train:
            mean, var = first["running_mean"].new_empty(2, total)
        read, cache = 0, {}
        for row in self.rows:
            norm, _, conv = row.inner
            own = row.own(params)
            if mean is not None and var is not None:
                measure(x, mean[read:channels], var[read:channels])
                move(row.norm, own[norm], mean[:channels], var[:channels], maps[:, 0].numel())
            previous = maps[:, :channels]
            if maps.dtype is torch.bfloat16:  # its kernel for normalization is slow for slices of channels
                previous = previous.contiguous(memory_format=form)
            x, _ = row.conv.forward(own[conv], row.read(own, previous, mean, var)[0], mode)
            x, child_cache = step(row.name, row.rest, own, x, mode)
            read = channels
            channels += row.growth
            maps[:, read:channels] = x
            if mode.keep:
                cache[row.name] = child_cache
        return maps, {"maps": maps, "mean": mean, "var": var, "rows": cache} if mode.keep else {}

    def sweep(self, params: Params, cache: Cache, dy: Tensor, back: Back) -> tuple[Tensor, Params]:
        """Propagate back through the layers in reverse order; each adds its dx to the gradient of the maps it read."""
        maps, mean, var, rows = (cache.pop(name) for name in ("maps", "mean", "var", "rows"))
        form = memory_format(maps)
        dmaps = dy if self.own_dy else dy.clone()
        channels = maps.shape[1]
        later = None
        if mean is not None and maps.dtype is not torch.bfloat16:
            later = mean.new_zeros(2, channels)
        dparams: Params = {}
        for row in reversed(self.rows):
            norm, _, conv = row.inner
            own = row.own(params)
            read = channels - row.growth
            dy = arrived(dmaps[:, read:channels], maps[:, read:channels], later, slice(read, channels), form)
            dy, drest = back(row.name, row.rest, own, rows.pop(row.name), dy)
            y, read_cache = row.read(own, maps[:, :read].contiguous(memory_format=form), mean, var)
            dy, dconv = row.conv.backward(own[conv], Conv2dCache(y), dy)
            dy = KERNELS[row.act].back_over(dy, y)
            del y
            dnorm = row.send(own[norm], read_cache, dy, dmaps[:, :read], later)
            dparams[row.name] = row.parallel_gradients({norm: dnorm, conv: dconv, **drest})
            channels = read
        return arrived(dmaps[:, :channels], maps[:, :channels], later, slice(channels), form), dparams


def arrived(dmaps: Tensor, maps: Tensor, later: Tensor | None, part: slice, form: torch.memory_format) -> Tensor:
    """Return the complete gradient of the maps in `part`: `dmaps` plus the summed linear terms of `later`."""
    if later is None:
        return dmaps.contiguous(memory_format=form)
    slope, shift = later[:, part, None, None]
    return torch.addcmul(dmaps + shift, maps, slope)


def measure(x: Tensor, mean: Tensor, var: Tensor) -> None:
    """Write the batch mean and variance of each channel of x into `mean` and `var`, (C,) each."""
    unused = torch.zeros_like(mean), torch.ones_like(var)  # running statistics; only their dtype matters
    for target, found in zip((mean, var), update_stats(x, *unused, 0.0), strict=True):
        target.copy_(found)


def move(norm: BatchNorm, params: Params, mean: Tensor, var: Tensor, count: int) -> None:
    """Update the running statistics with those of a batch with `count` values per channel."""
    params["running_mean"].lerp_(mean, norm.momentum)
    params["running_var"].lerp_(var * (count / (count - 1)), norm.momentum)


def dense_layer(name: str, layer: Layer, fuse: Callable[[Layer], Layer]) -> DenseLayer | None:
    """Return the DenseLayer for a layer of a Sequential; None if it is no layer of a dense block.

    fuse: converts its convolution and the layers after that.
    """
    if not (type(layer) is Parallel and layer.merge == Concat() and len(layer.branches) == 2):
        return None
    (before, identity), (body, inside) = layer.branches.items()
    if not (type(identity) is Identity and type(inside) is Sequential and len(inside.children) >= 3):
        return None
    norm, act, conv, *rest = inside.children.items()
    last = [norm, act, conv, *rest][-1][1]
    if not (type(norm[1]) is BatchNorm and type(act[1]) in CHEAP and type(conv[1]) is Conv2d):
        return None
    if type(last) is not Conv2d:
        return None
    names = norm[0], act[0], conv[0]
    parts = fuse(conv[1]), fuse(Sequential(**dict(rest)))
    return DenseLayer(name, body, before, names, norm[1], type(act[1]), *parts, last.filters)
