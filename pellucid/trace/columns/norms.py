"""Normalizations: y = w x̂ + b, x̂ = (x - μ) / sqrt(σ² + ε), with μ and σ² of a set of m values, or of the past."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.layers import BatchNorm, GroupNorm, InstanceNorm2d
from pellucid.layers.batchnorm import RunningCache
from pellucid.trace.calls import Call
from pellucid.trace.columns.base import Column, Factors, at, one, part_of, read, worked


@dataclass(frozen=True)
class Sets:
    """How a normalization divides its input: which set each value is in, and which parameter scales it.

    owner, scale: flat, one number for each value of x. mean, invstd: one for each set, as the pass computed them.
    """

    owner: Tensor
    scale: Tensor
    mean: Tensor
    invstd: Tensor
    past: bool  # whether mean and invstd are running statistics, which x does not move
    name: str  # what a set is called

    def normal(self, call: Call, where: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return x, μ and 1 / sqrt(σ² + ε) at flat places."""
        owner = self.owner[where]
        return at(call.x, where), self.mean[owner], self.invstd[owner]


def norm(call: Call, what: str, place: int) -> Column:
    """Ioffe and Szegedy 2015, section 3; a value also moves the mean and the variance of all beside it."""
    sets = _sets(call)
    if part_of(what) is None:
        where = (sets.scale == place).nonzero().flatten()
        if what == "bias":
            return Column(
                where,
                (),
                "a shift moves every value of its channel one to one: the sum of their deltas",
                r"\frac{\partial C}{\partial b_c} = \sum_i \delta_i",
            )
        x, mean, invstd = sets.normal(call, where)
        centred = worked(x - mean, "x - mean", "activation", _x(call, where), worked(-mean, "-mean", "mean"))
        return Column(
            where,
            (centred, worked(invstd, "1 / deviation", "scale")),
            "a scale multiplies the normalized values: the sum of delta times x̂ = (x - mean) / deviation",
            r"\frac{\partial C}{\partial w_c} = \sum_i \delta_i\, \hat x_i, \quad \hat x_i = \frac{x_i - \mu}{\sigma}",
        )
    return _past(call, sets, place) if sets.past else _together(call, sets, place)


def _past(call: Call, sets: Sets, place: int) -> Column:
    """Running statistics do not depend on x: each value is only scaled."""
    where = one(place)
    _, _, invstd = sets.normal(call, where)
    return Column(
        where,
        (*_weights(call, sets, where), worked(invstd, "1 / deviation", "scale")),
        "the statistics are those of the past, so that this value is only scaled: delta times w / deviation",
        r"\frac{\partial C}{\partial x} = \delta\, \frac{w}{\sigma}",
    )


def _together(call: Call, sets: Sets, place: int) -> Column:
    where = (sets.owner == sets.owner[place]).nonzero().flatten()
    m = len(where)
    x, mean, invstd = sets.normal(call, where)
    own, own_mean, own_invstd = sets.normal(call, one(place))
    hats = (x - mean) * invstd
    itself = (where == place).double()
    through_mean = torch.full_like(itself, -1 / m)
    through_spread = -hats * (((own - own_mean) * own_invstd) / m)
    parts = (
        worked(itself, "[i = o]", "itself"),
        worked(through_mean, "-1/m", "through the mean"),
        worked(through_spread, "-x̂ᵢ x̂ₒ/m", "through the spread"),
    )
    share = worked(itself + through_mean + through_spread, "[i = o] - 1/m - x̂ᵢ x̂ₒ/m", "share", *parts)
    return Column(
        where,
        (*_weights(call, sets, where), worked(invstd, "1 / deviation", "scale"), share),
        f"this value moves itself, and through the mean and the spread all {m} values of its {sets.name}",
        r"\frac{\partial C}{\partial x_i} = \sum_o \delta_o\, \frac{w_o}{\sigma}"
        r"\left([i = o] - \frac1m - \frac{\hat x_i \hat x_o}{m}\right)",
    )


def _x(call: Call, where: Tensor) -> Factors:
    return read(call, "x.0", where, "x", "activation")


def _weights(call: Call, sets: Sets, where: Tensor) -> tuple[Factors, ...]:
    return (read(call, "weight", sets.scale[where], "w", "weight"),) if "weight" in call.params else ()


def _sets(call: Call) -> Sets:
    """Say how the layer divides its input."""
    x, layer = call.x, call.layer
    channel = torch.arange(x.shape[1]).view(1, -1, *(1,) * (x.dim() - 2)).expand(x.shape).flatten()
    if isinstance(layer, BatchNorm):
        if isinstance(call.cache, RunningCache):
            variance = call.params["running_var"]
            mean, invstd = call.params["running_mean"], 1 / (variance + layer.epsilon).sqrt()
            return Sets(channel, channel, mean.double(), invstd.double(), True, "channel")
        return Sets(channel, channel, call.cache.mean.double(), call.cache.invstd.double(), False, "channel")
    mean, invstd = call.cache.mean.flatten().double(), call.cache.invstd.flatten().double()
    size = x.numel() // len(mean)  # values of a set, which lie together in order
    owner = torch.arange(x.numel()) // size
    if isinstance(layer, GroupNorm | InstanceNorm2d):
        name = "group" if isinstance(layer, GroupNorm) else "map"
        return Sets(owner, channel, mean, invstd, False, name)
    scale = torch.arange(x.numel()) % math.prod(call.params["weight"].shape)
    return Sets(owner, scale, mean, invstd, False, "example")
