"""Columns of normalizations and softmax: y = w x̂ + b, x̂ = (x - μ) / sqrt(σ² + ε)."""

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
from pellucid.trace.columns.base import Column, Factors, elements, flat_indices, index_tensor, part_of, read, worked
from pellucid.trace.passes import LayerCall
from pellucid.trace.text import index_of


@dataclass(frozen=True)
class NormalizedSets:
    """The sets of values that a layer normalizes together, such as the channels of BatchNorm.

    owner: index of the set of each value of x, flat. scale: flat index into the layer's weight for each value of x.
    mean, invstd: μ and 1 / sqrt(σ² + ε) of each set, from the forward pass.
    """

    owner: Tensor
    scale: Tensor
    mean: Tensor
    invstd: Tensor
    fixed: bool  # whether mean and invstd are running statistics, which do not depend on x
    name: str  # of a set, such as "channel"

    def normal(self, call: LayerCall, where: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return x, μ and 1 / sqrt(σ² + ε) at flat indices."""
        owner = self.owner[where]
        return elements(call.x, where), self.mean[owner], self.invstd[owner]


def norm(call: LayerCall, what: str, index: int) -> Column:
    """Return the column of a normalization: Ioffe and Szegedy 2015, section 3."""
    sets = _sets(call)
    if part_of(what) is None:
        where = (sets.scale == index).nonzero().flatten()
        if what == "bias":
            words = "a bias is added to every value of its channel: the sum of the gradients δ"
            return Column(where, (), words, r"\frac{\partial C}{\partial b_c} = \sum_i \delta_i")
        x, mean, invstd = sets.normal(call, where)
        parts = read(call, "x.0", where, "x", "activation"), worked(-mean, "-mean", "mean")
        centred = worked(x - mean, "x - mean", "activation", *parts)
        words = "a scale multiplies the normalized values: the sum of the gradients δ times x̂ = (x - mean) / deviation"
        formula = (
            r"\frac{\partial C}{\partial w_c} = \sum_i \delta_i\, \hat x_i, \quad \hat x_i = \frac{x_i - \mu}{\sigma}"
        )
        return Column(where, (centred, worked(invstd, "1 / deviation", "scale")), words, formula)
    return _fixed_statistics(call, sets, index) if sets.fixed else _batch_statistics(call, sets, index)


def _fixed_statistics(call: LayerCall, sets: NormalizedSets, index: int) -> Column:
    """Return the column of an input for running statistics, which only scale it."""
    where = index_tensor(index)
    _, _, invstd = sets.normal(call, where)
    words = "running statistics do not depend on this value, which is only scaled: δ times w / deviation"
    formula = r"\frac{\partial C}{\partial x} = \delta\, \frac{w}{\sigma}"
    return Column(where, (*_weights(call, sets, where), worked(invstd, "1 / deviation", "scale")), words, formula)


def _batch_statistics(call: LayerCall, sets: NormalizedSets, index: int) -> Column:
    """Return the column of an input whose set's mean and variance depend on all values of the set."""
    where = (sets.owner == sets.owner[index]).nonzero().flatten()
    m = len(where)  # number of values in the set
    x, mean, invstd = sets.normal(call, where)
    x_i, mean_i, invstd_i = sets.normal(call, index_tensor(index))
    x_hat = (x - mean) * invstd
    direct = (where == index).double()
    through_mean = torch.full_like(direct, -1 / m)
    through_variance = -x_hat * (((x_i - mean_i) * invstd_i) / m)
    parts = (
        worked(direct, "[i = o]", "itself"),
        worked(through_mean, "-1/m", "through the mean"),
        worked(through_variance, "-x̂ᵢ x̂ₒ/m", "through the spread"),
    )
    share = worked(direct + through_mean + through_variance, "[i = o] - 1/m - x̂ᵢ x̂ₒ/m", "share", *parts)
    return Column(
        where,
        (*_weights(call, sets, where), worked(invstd, "1 / deviation", "scale"), share),
        f"it changes its own output directly, and all {m} outputs of its {sets.name} through the mean and the variance",
        r"\frac{\partial C}{\partial x_i} = \sum_o \delta_o\, \frac{w_o}{\sigma}"
        r"\left([i = o] - \frac1m - \frac{\hat x_i \hat x_o}{m}\right)",
    )


def _weights(call: LayerCall, sets: NormalizedSets, where: Tensor) -> tuple[Factors, ...]:
    return (read(call, "weight", sets.scale[where], "w", "weight"),) if "weight" in call.params else ()


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
    size = x.numel() // len(mean)  # of a set, whose values are contiguous
    owner = torch.arange(x.numel()) // size
    if isinstance(layer, GroupNorm | InstanceNorm2d):
        name = "group" if isinstance(layer, GroupNorm) else "map"
        return NormalizedSets(owner, channel, mean, invstd, False, name)
    scale = torch.arange(x.numel()) % math.prod(call.params["weight"].shape)
    return NormalizedSets(owner, scale, mean, invstd, False, "example")


def local_response_norm(call: LayerCall, what: str, index: int) -> Column:
    """∂y_o/∂x_i = [i = o] d_o^-β - 2 α β / size x_i x_o d_o^(-β - 1)."""
    layer = call.layer
    assert isinstance(layer, LocalResponseNorm)
    n, c, h, w = index_of(index, call.x.shape)
    before = layer.size // 2
    after = layer.size - 1 - before
    channels = torch.arange(max(0, c - after), min(call.x.shape[1], c + before + 1))
    where = flat_indices(call.x.shape, n, channels, h, w)
    x, d = elements(call.x, where), elements(call.cache.divisor, where)
    x_i = call.x.flatten()[index].double()
    power = d**-layer.beta
    direct = torch.where(where == index, power, 0)
    through_d = -2 * layer.alpha * layer.beta / layer.size * x_i * x * power / d
    parts = (
        worked(direct, "[i = o] / d^beta", "itself"),
        worked(through_d, "-2 alpha beta/size xᵢ xₒ / d^(beta+1)", "through d"),
    )
    words = "it changes its own output directly, and the outputs of the neighbouring channels through their divisors d"
    formula = (
        r"\frac{\partial C}{\partial x_i} = \sum_o \delta_o \left([i=o]\, d_o^{-\beta}"
        r" - \tfrac{2\alpha\beta}{\text{size}}\, x_i x_o\, d_o^{-\beta-1}\right)"
    )
    return Column(where, (worked(direct + through_d, "slope", "slope", *parts),), words, formula)


def local_contrast_norm(call: LayerCall, what: str, index: int) -> Column:
    """Derivatives along one input of v = x - Σ w x, σ = sqrt(Σ w v²), d = max(c, σ, ε), y = v / d."""
    layer = call.layer
    assert isinstance(layer, LocalContrastNorm)
    n = index_of(index, call.x.shape)[0]
    size = call.x[0].numel()
    v, sigma = (field[n : n + 1].double() for field in call.cache)
    mass = layer._mass(v)
    average = sigma.mean((2, 3), keepdim=True)
    d = layer._divisor(sigma, average)
    step = torch.zeros_like(v)
    step.view(-1)[index - n * size] = 1
    dv = step - layer._window(step.sum(1, keepdim=True)) / mass
    change = layer._window((v * dv).sum(1, keepdim=True)) / mass
    dsigma = torch.where(sigma > 0, change / sigma, 0)
    dd = torch.where(sigma >= average, dsigma, dsigma.mean((2, 3), keepdim=True).expand_as(dsigma))
    dd = torch.where(d > layer.epsilon, dd, 0)
    through_v, through_d = (dv / d).flatten(), (-v * dd / (d * d)).flatten()
    where = ((through_v != 0) | (through_d != 0)).nonzero().flatten()
    parts = worked(through_v[where], "∂v/d", "itself"), worked(through_d[where], "-v ∂d/d²", "through d")
    words = "it changes the local mean and contrast near it, and through them the outputs there"
    formula = (
        r"\frac{\partial C}{\partial x_i} = \sum_o \delta_o"
        r" \left(\frac{\partial v_o/\partial x_i}{d_o} - \frac{v_o\, \partial d_o/\partial x_i}{d_o^2}\right)"
    )
    return Column(where + n * size, (worked((through_v + through_d)[where], "slope", "slope", *parts),), words, formula)


def softmax(call: LayerCall, what: str, index: int) -> Column:
    """∂y_o/∂x_i = y_o ([i = o] - y_i) for Softmax, [i = o] - exp(y_i) for LogSoftmax."""
    layer = call.layer
    assert isinstance(layer, Softmax | LogSoftmax)
    position: list[torch.Tensor | int] = list(index_of(index, call.y.shape))
    position[layer.axis] = torch.arange(call.y.shape[layer.axis])
    where = flat_indices(call.y.shape, *position)
    y = elements(call.y, where)
    direct = (where == index).double()
    probability = y[direct.bool()].expand(len(y))
    if isinstance(layer, LogSoftmax):
        probability = probability.exp()
    parts = worked(direct, "[i = o]", "itself"), worked(-probability, "-aᵢ", "probability")
    share = worked(direct - probability, "[i = o] - aᵢ", "share", *parts)
    if isinstance(layer, LogSoftmax):
        words = "a logit increases its own log-probability, and decreases all log-probabilities by its probability"
        return Column(where, (share,), words, r"\frac{\partial C}{\partial x_i} = \sum_o \delta_o\, ([i = o] - a_i)")
    words = "a logit increases its own probability and decreases the others"
    formula = r"\frac{\partial C}{\partial x_i} = \sum_o \delta_o\, y_o\, ([i = o] - y_i)"
    return Column(where, (worked(y, "yₒ", "probability"), share), words, formula)
