"""Columns of the Jacobians of normalizations and softmax: y = w x̂ + b, x̂ = (x - μ) / sqrt(σ² + ε)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.layers import (
    BatchNorm,
    GroupNorm,
    InstanceNorm2d,
    LocalContrastNorm,
    LocalResponseNorm,
    LogSoftmax,
    Softmax,
)
from pellucid.layers.batchnorm import RunningCache
from pellucid.trace.columns.base import (
    FactorColumn,
    JacobianColumn,
    argument_factors,
    computed_factors,
    elements,
    flat_indices,
    index_tensor,
    input_index,
)
from pellucid.trace.passes import LayerCall
from pellucid.trace.text import unravel_index


@dataclass(frozen=True)
class NormalizedSets:
    """The sets of values that a layer normalizes together, such as the channels of BatchNorm."""

    set_index: Tensor  # index of the set of each value of x, flat
    scale_index: Tensor  # flat index into the layer's weight for each value of x
    mean: Tensor  # μ of each set, from the forward pass
    invstd: Tensor  # 1 / sqrt(σ² + ε) of each set, from the forward pass
    uses_running_statistics: bool  # whether mean and invstd are running statistics, which do not depend on x
    name: str  # name of a set, such as "channel"

    def values_and_statistics(self, call: LayerCall, indices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return x, μ and 1 / sqrt(σ² + ε) at flat indices."""
        set_index = self.set_index[indices]
        return elements(call.x, indices), self.mean[set_index], self.invstd[set_index]


def norm(call: LayerCall, argument: str, index: int) -> JacobianColumn:
    """Return the column of a normalization: Ioffe and Szegedy 2015, section 3."""
    sets = _sets(call)
    if input_index(argument) is None:
        indices = (sets.scale_index == index).nonzero().flatten()
        if argument == "bias":
            words = "a bias is added to every value of its channel: the sum of the gradients δ"
            return JacobianColumn(indices, (), words, r"\frac{\partial C}{\partial b_c} = \sum_i \delta_i")
        x, mean, invstd = sets.values_and_statistics(call, indices)
        summands = argument_factors(call, "x.0", indices, "x", "activation"), computed_factors(-mean, "-mean", "mean")
        centred = computed_factors(x - mean, "x - mean", "activation", *summands)
        words = "a scale multiplies the normalized values: the sum of the gradients δ times x̂ = (x - mean) / deviation"
        formula = (
            r"\frac{\partial C}{\partial w_c} = \sum_i \delta_i\, \hat x_i, \quad \hat x_i = \frac{x_i - \mu}{\sigma}"
        )
        return JacobianColumn(indices, (centred, computed_factors(invstd, "1 / deviation", "scale")), words, formula)
    return (
        _fixed_statistics(call, sets, index) if sets.uses_running_statistics else _batch_statistics(call, sets, index)
    )


def _fixed_statistics(call: LayerCall, sets: NormalizedSets, index: int) -> JacobianColumn:
    """Return the column of an input for running statistics, which only scale it."""
    indices = index_tensor(index)
    _, _, invstd = sets.values_and_statistics(call, indices)
    words = "running statistics do not depend on this value, which is only scaled: δ times w / deviation"
    formula = r"\frac{\partial C}{\partial x} = \delta\, \frac{w}{\sigma}"
    return JacobianColumn(
        indices, (*_weights(call, sets, indices), computed_factors(invstd, "1 / deviation", "scale")), words, formula
    )


def _batch_statistics(call: LayerCall, sets: NormalizedSets, index: int) -> JacobianColumn:
    """Return the column of an input whose set's mean and variance depend on all values of the set."""
    indices = (sets.set_index == sets.set_index[index]).nonzero().flatten()
    m = len(indices)  # number of values in the set
    x, mean, invstd = sets.values_and_statistics(call, indices)
    x_i, mean_i, invstd_i = sets.values_and_statistics(call, index_tensor(index))
    x_hat = (x - mean) * invstd
    direct = (indices == index).double()
    through_mean = torch.full_like(direct, -1 / m)
    through_variance = -x_hat * (((x_i - mean_i) * invstd_i) / m)
    summands = (
        computed_factors(direct, "[i = o]", "itself"),
        computed_factors(through_mean, "-1/m", "through the mean"),
        computed_factors(through_variance, "-x̂ᵢ x̂ₒ/m", "through the spread"),
    )
    share = computed_factors(direct + through_mean + through_variance, "[i = o] - 1/m - x̂ᵢ x̂ₒ/m", "share", *summands)
    return JacobianColumn(
        indices,
        (*_weights(call, sets, indices), computed_factors(invstd, "1 / deviation", "scale"), share),
        f"it changes its own output directly, and all {m} outputs of its {sets.name} through the mean and the variance",
        r"\frac{\partial C}{\partial x_i} = \sum_o \delta_o\, \frac{w_o}{\sigma}"
        r"\left([i = o] - \frac1m - \frac{\hat x_i \hat x_o}{m}\right)",
    )


def _weights(call: LayerCall, sets: NormalizedSets, indices: Tensor) -> tuple[FactorColumn, ...]:
    return (
        (argument_factors(call, "weight", sets.scale_index[indices], "w", "weight"),) if "weight" in call.params else ()
    )


def _sets(call: LayerCall) -> NormalizedSets:
    """Return the sets of values that the layer normalizes together."""
    x, layer = call.x, call.layer
    channel = torch.arange(x.shape[1]).view(1, -1, *(1,) * (x.dim() - 2)).expand(x.shape).flatten()
    if isinstance(layer, BatchNorm):
        if isinstance(call.cache, RunningCache):
            variance = call.params["running_var"]
            mean, invstd = call.params["running_mean"], 1 / (variance + layer.epsilon).sqrt()
            return NormalizedSets(channel, channel, mean.double(), invstd.double(), True, "channel")
        return NormalizedSets(channel, channel, call.cache.mean.double(), call.cache.invstd.double(), False, "channel")
    mean, invstd = call.cache.mean.flatten().double(), call.cache.invstd.flatten().double()
    set_size = x.numel() // len(mean)  # size of a set, whose values are contiguous
    set_index = torch.arange(x.numel()) // set_size
    if isinstance(layer, GroupNorm | InstanceNorm2d):
        name = "group" if isinstance(layer, GroupNorm) else "map"
        return NormalizedSets(set_index, channel, mean, invstd, False, name)
    scale_index = torch.arange(x.numel()) % math.prod(call.params["weight"].shape)
    return NormalizedSets(set_index, scale_index, mean, invstd, False, "example")


def local_response_norm(call: LayerCall, argument: str, index: int) -> JacobianColumn:
    """∂y_o/∂x_i = [i = o] d_o^-β - 2 α β / size x_i x_o d_o^(-β - 1)."""
    layer = call.layer
    assert isinstance(layer, LocalResponseNorm)
    n, c, h, w = unravel_index(index, call.x.shape)
    before = layer.size // 2
    after = layer.size - 1 - before
    channels = torch.arange(max(0, c - after), min(call.x.shape[1], c + before + 1))
    indices = flat_indices(call.x.shape, n, channels, h, w)
    x, d = elements(call.x, indices), elements(call.cache.divisor, indices)
    x_i = call.x.flatten()[index].double()
    power = d**-layer.beta
    direct = torch.where(indices == index, power, 0)
    through_d = -2 * layer.alpha * layer.beta / layer.size * x_i * x * power / d
    summands = (
        computed_factors(direct, "[i = o] / d^beta", "itself"),
        computed_factors(through_d, "-2 alpha beta/size xᵢ xₒ / d^(beta+1)", "through d"),
    )
    words = "it changes its own output directly, and the outputs of the neighbouring channels through their divisors d"
    formula = (
        r"\frac{\partial C}{\partial x_i} = \sum_o \delta_o \left([i=o]\, d_o^{-\beta}"
        r" - \tfrac{2\alpha\beta}{\text{size}}\, x_i x_o\, d_o^{-\beta-1}\right)"
    )
    return JacobianColumn(indices, (computed_factors(direct + through_d, "slope", "slope", *summands),), words, formula)


def local_contrast_norm(call: LayerCall, argument: str, index: int) -> JacobianColumn:
    """Derivatives along one input of v = x - Σ w x, σ = sqrt(Σ w v²), d = max(c, σ, ε), y = v / d."""
    layer = call.layer
    assert isinstance(layer, LocalContrastNorm)
    n = unravel_index(index, call.x.shape)[0]
    size = call.x[0].numel()
    v, sigma = (field[n : n + 1].double() for field in call.cache)
    total_weight = layer._window_mass(v)
    average = sigma.mean((2, 3), keepdim=True)
    d = layer._divisor(sigma, average)
    step = torch.zeros_like(v)
    step.view(-1)[index - n * size] = 1
    dv = step - layer._window_sum(step.sum(1, keepdim=True)) / total_weight
    dvariance = layer._window_sum((v * dv).sum(1, keepdim=True)) / total_weight
    dsigma = torch.where(sigma > 0, dvariance / sigma, 0)
    dd = torch.where(sigma >= average, dsigma, dsigma.mean((2, 3), keepdim=True).expand_as(dsigma))
    dd = torch.where(d > layer.epsilon, dd, 0)
    through_v, through_d = (dv / d).flatten(), (-v * dd / (d * d)).flatten()
    indices = ((through_v != 0) | (through_d != 0)).nonzero().flatten()
    summands = (
        computed_factors(through_v[indices], "∂v/d", "itself"),
        computed_factors(through_d[indices], "-v ∂d/d²", "through d"),
    )
    words = "it changes the local mean and contrast near it, and through them the outputs there"
    formula = (
        r"\frac{\partial C}{\partial x_i} = \sum_o \delta_o"
        r" \left(\frac{\partial v_o/\partial x_i}{d_o} - \frac{v_o\, \partial d_o/\partial x_i}{d_o^2}\right)"
    )
    return JacobianColumn(
        indices + n * size,
        (computed_factors((through_v + through_d)[indices], "slope", "slope", *summands),),
        words,
        formula,
    )


def softmax(call: LayerCall, argument: str, index: int) -> JacobianColumn:
    """∂y_o/∂x_i = y_o ([i = o] - y_i) for Softmax, [i = o] - exp(y_i) for LogSoftmax."""
    layer = call.layer
    assert isinstance(layer, Softmax | LogSoftmax)
    position: list[torch.Tensor | int] = list(unravel_index(index, call.y.shape))
    position[layer.axis] = torch.arange(call.y.shape[layer.axis])
    indices = flat_indices(call.y.shape, *position)
    y = elements(call.y, indices)
    direct = (indices == index).double()
    probability = y[direct.bool()].expand(len(y))
    if isinstance(layer, LogSoftmax):
        probability = probability.exp()
    summands = computed_factors(direct, "[i = o]", "itself"), computed_factors(-probability, "-aᵢ", "probability")
    share = computed_factors(direct - probability, "[i = o] - aᵢ", "share", *summands)
    if isinstance(layer, LogSoftmax):
        words = "a logit increases its own log-probability, and decreases all log-probabilities by its probability"
        return JacobianColumn(
            indices, (share,), words, r"\frac{\partial C}{\partial x_i} = \sum_o \delta_o\, ([i = o] - a_i)"
        )
    words = "a logit increases its own probability and decreases the others"
    formula = r"\frac{\partial C}{\partial x_i} = \sum_o \delta_o\, y_o\, ([i = o] - y_i)"
    return JacobianColumn(indices, (computed_factors(y, "yₒ", "probability"), share), words, formula)
