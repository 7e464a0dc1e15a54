"""Batch normalization over all parts of a batch, where each process computes one part.

Tests: tests/fuse/test_parts.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.combine.base import map_layers
from pellucid.fuse.context import FusedForm
from pellucid.fuse.kernels import batch_norm_gradients
from pellucid.layers.base import Layer, Mode, Params, memory_format
from pellucid.layers.batchnorm import BatchCache, BatchNorm, RunningCache


@dataclass(eq=False)
class BatchParts:
    """The parts of one batch: each process computes one part, and all processes run the same layer at the same time."""

    # returns the stacked tensors of all processes, (processes, ...), from the tensor of this process
    gather: Callable[[Tensor], Tensor]
    weight: float = 1.0  # the factor of the gradients of this part in the sum over all parts


class PartCache(NamedTuple):
    """Cache of SyncedNorm in training mode: its input; the mean, variance and number of values over all parts."""

    x: Tensor
    mean: Tensor  # (C,)
    var: Tensor  # (C,)
    n_values: Tensor  # 0-d


NormCache = PartCache | BatchCache | RunningCache


@dataclass(frozen=True)
class SyncedNorm(FusedForm):
    """Replace a BatchNorm with one whose training statistics are computed over all parts of a batch."""

    layer: BatchNorm
    batch_parts: BatchParts

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, NormCache]:
        """Compute y = w (x - μ) / sqrt(σ² + ε) + b, with μ and σ² from the means and squared deviations of the parts.

        Raises PellucidError for a single value per channel in all parts together.
        Source: Chan, Golub and LeVeque 1979, equation 2.1, for the variance of a union of sets.
        """
        if not mode.train:
            return self.layer.forward(params, x, mode)
        channels = x.shape[1]
        n_values = x.numel() // x.shape[1]
        if n_values:
            var, mean = torch.var_mean(x, [0, *range(2, x.dim())], correction=0)
        else:
            var = mean = x.new_zeros(channels)
        # one exchange is enough, and from float64 all processes compute the same bits
        local_statistics = torch.cat([mean.double(), n_values * var.double(), torch.tensor([n_values])])
        # (processes, ...) each
        means, deviations, counts = self.batch_parts.gather(local_statistics).split([channels, channels, 1], 1)
        total_values = counts.sum()
        if total_values <= 1:
            raise PellucidError(
                "BatchNorm: all parts of the batch together have one value per channel, which has no variance to train "
                "on; use a batch of two or more"
            )
        mean = (counts * means).sum(0) / total_values
        squared_deviations = (deviations + counts * (means - mean).square()).sum(0)
        self._update(params, mean, squared_deviations / (total_values - 1))
        dtype = params["weight"].dtype
        cache = PartCache(x, mean.to(dtype), (squared_deviations / total_values).to(dtype), total_values)
        if not x.numel():
            return x, cache
        weight_and_bias = params["weight"], params["bias"]
        y = torch.native_batch_norm(x, *weight_and_bias, cache.mean, cache.var, False, 0.0, self.layer.epsilon)[0]
        return y, cache

    def backward(self, params: Params, cache: NormCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Compute dw = Σ dy x̂, db = Σ dy over this part, and dx with their sums over all parts.

        dx = w / sqrt(σ² + ε) (dy - db / m - x̂ dw / m), as in BatchNorm, with the m values of a channel in all parts.
        The gradients of part p are multiplied by its weight v_p later, so its sums are Σ v_q db_q / v_p.
        """
        if not isinstance(cache, PartCache):
            return batch_norm_gradients(self.layer, params, cache, dy)
        x, mean, var, total_values = cache
        weight = params["weight"]
        if dy.numel():
            dy = dy.contiguous(memory_format=memory_format(x))  # as in BatchNorm
            empty = mean.new_empty(0)  # the kernels of GPUs take no None
            dx, dweight, dbias = torch.ops.aten.native_batch_norm_backward(
                dy, x, weight, mean, var, empty, empty, False, self.layer.epsilon, (True, True, True)
            )
        else:
            dx = dy
            dweight = torch.zeros_like(weight)
            dbias = torch.zeros_like(weight)
        gathered = self.batch_parts.gather(self.batch_parts.weight * torch.cat([dweight, dbias]).double())
        sums = gathered.sum(0) / (self.batch_parts.weight * total_values)
        dweight_sum, dbias_sum = sums.to(weight.dtype).chunk(2)
        invstd = torch.rsqrt(var + self.layer.epsilon)
        slope = weight * invstd**2 * dweight_sum
        shape = -1, *(1,) * (x.dim() - 2)
        dx = dx - x * slope.view(shape) + (mean * slope - weight * invstd * dbias_sum).view(shape)
        return dx.to(dy.dtype), {"weight": dweight, "bias": dbias}

    def _update(self, params: Params, mean: Tensor, var: Tensor) -> None:
        """Move the running statistics towards the mean and variance of the batch."""
        for name, value in (("running_mean", mean), ("running_var", var)):
            params[name].mul_(1 - self.layer.momentum).add_(value.to(params[name].dtype), alpha=self.layer.momentum)


def sync_norms(net: Layer, batch_parts: BatchParts) -> Layer:
    """Return the network with a SyncedNorm in place of each BatchNorm that is not frozen."""
    return map_layers(net, lambda layer: SyncedNorm(layer, batch_parts) if type(layer) is BatchNorm else layer)
