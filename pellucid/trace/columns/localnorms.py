"""Local normalizations: by neighbouring channels, and by the local contrast."""

import torch

from pellucid.layers import LocalContrastNorm, LocalResponseNorm
from pellucid.trace.calls import Call
from pellucid.trace.columns.base import Column, at, index_of, places, worked


def local_response_norm(call: Call, what: str, place: int) -> Column:
    """∂y_o/∂x_i = [i = o] d_o^-β - 2 α β / size x_i x_o d_o^(-β - 1)."""
    layer = call.layer
    assert isinstance(layer, LocalResponseNorm)
    n, c, h, w = index_of(place, call.x.shape)
    before = layer.size // 2
    after = layer.size - 1 - before
    near = torch.arange(max(0, c - after), min(call.x.shape[1], c + before + 1))
    where = places(call.x.shape, n, near, h, w)
    x, d = at(call.x, where), at(call.cache.divisor, where)
    own = call.x.flatten()[place].double()
    power = d**-layer.beta
    direct = torch.where(where == place, power, 0)
    blame = -2 * layer.alpha * layer.beta / layer.size * own * x * power / d
    parts = (
        worked(direct, "[i = o] / d^beta", "itself"),
        worked(blame, "-2 alpha beta/size xᵢ xₒ / d^(beta+1)", "through d"),
    )
    return Column(
        where,
        (worked(direct + blame, "slope", "slope", *parts),),
        "it moves its own output, and dampens those of the neighbouring channels",
        r"\frac{\partial C}{\partial x_i} = \sum_o \delta_o \left([i=o]\, d_o^{-\beta}"
        r" - \tfrac{2\alpha\beta}{\text{size}}\, x_i x_o\, d_o^{-\beta-1}\right)",
    )


def local_contrast_norm(call: Call, what: str, place: int) -> Column:
    """Follow a small step of the input through v = x - Σ w x, σ = sqrt(Σ w v²), d = max(c, σ, ε), y = v / d."""
    layer = call.layer
    assert isinstance(layer, LocalContrastNorm)
    n = index_of(place, call.x.shape)[0]
    size = call.x[0].numel()
    v, sigma = (kept[n : n + 1].double() for kept in call.cache)
    mass = layer._mass(v)
    average = sigma.mean((2, 3), keepdim=True)
    d = layer._divisor(sigma, average)
    step = torch.zeros_like(v)
    step.view(-1)[place - n * size] = 1
    dv = step - layer._window(step.sum(1, keepdim=True)) / mass
    spread = layer._window((v * dv).sum(1, keepdim=True)) / mass
    dsigma = torch.where(sigma > 0, spread / sigma, 0)
    dd = torch.where(sigma >= average, dsigma, dsigma.mean((2, 3), keepdim=True).expand_as(dsigma))
    dd = torch.where(d > layer.epsilon, dd, 0)
    through_v, through_d = (dv / d).flatten(), (-v * dd / (d * d)).flatten()
    moved = ((through_v != 0) | (through_d != 0)).nonzero().flatten()
    parts = worked(through_v[moved], "∂v/d", "itself"), worked(through_d[moved], "-v ∂d/d²", "through d")
    return Column(
        moved + n * size,
        (worked((through_v + through_d)[moved], "slope", "slope", *parts),),
        "it moves the local mean and the local contrast around it, and with them all values near",
        r"\frac{\partial C}{\partial x_i} = \sum_o \delta_o"
        r" \left(\frac{\partial v_o/\partial x_i}{d_o} - \frac{v_o\, \partial d_o/\partial x_i}{d_o^2}\right)",
    )
