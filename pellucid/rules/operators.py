"""Rules of relevance for products, attention, softmax and norms, the operators of transformers and gated networks."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.layers import Dense, GroupNorm, InstanceNorm2d, LayerNorm, Softmax
from pellucid.layers.base import Cache, Layer, Params
from pellucid.layers.dense import DenseCache
from pellucid.operators import Attention, LinearMap
from pellucid.operators.base import unbroadcast
from pellucid.rules.origins import Origin, Use, UseRule
from pellucid.rules.term import stabilized
from pellucid.settings.checks import check_range
from pellucid.sweep import Rule


@dataclass(frozen=True)
class Share(UseRule):
    """Divide relevance equally among the n inputs of an elementwise product: R_i = R / n.

    Only inputs that are computed from the network's input count: the rest, such as a learned scale, is constant. With
    `constant_weights`, outputs of softmax, sigmoid and hard sigmoid are constant too, so that the value takes all and
    its gate nothing (Arras et al. 2017). For an input that was broadcast along an axis, relevance is summed over it.
    R / n is the Shapley value of a product with a baseline of 0. Source: Achtibat et al. 2024 (AttnLRP), equation 13.
    """

    constant_weights: bool = False

    def __call__(
        self, layer: Layer, params: Params, cache: Cache, dy: Tensor, use: Use | None = None
    ) -> tuple[tuple[Tensor | None, ...], Params]:
        """Return dy / n for each of the n inputs that count, and None for constants."""
        xs: tuple[Tensor, ...] = cache.xs
        factors = [True] * len(xs) if use is None else use.factors(self.constant_weights)
        part = dy / sum(factors)
        return tuple(unbroadcast(part, x) if takes else None for x, takes in zip(xs, factors, strict=True)), {}


@dataclass(frozen=True)
class Numerator:
    """Give the relevance of a quotient to its numerator: the denominator is constant, as the σ of a norm is."""

    def __call__(self, layer: Layer, params: Params, cache: Cache, dy: Tensor) -> tuple[tuple[Tensor, None], Params]:
        """Return dy, summed over broadcast axes, and None."""
        return (unbroadcast(dy, cache.xs[0]), None), {}


@dataclass(frozen=True)
class Product(UseRule):
    """Share relevance by contributions among the factors of y = a b: R_a = a ∘ (s bᵀ) and R_b = b ∘ (aᵀ s), s = R / 2y.

    If only one factor is computed from the network's input, the other is constant and s is R / y. With
    `constant_weights`, outputs of softmax are constant too: the weights of attention in CP-LRP (Ali et al. 2022,
    section 4.2). Otherwise each factor takes one half. Source: Achtibat et al. 2024 (AttnLRP), equation 15.
    """

    constant_weights: bool = False
    stabilizer: float = 1e-6

    def __post_init__(self) -> None:
        """Raise PellucidError for a stabilizer below 0."""
        check_range(self, stabilizer=self.stabilizer)

    def __call__(
        self, layer: Layer, params: Params, cache: Cache, dy: Tensor, use: Use | None = None
    ) -> tuple[tuple[Tensor | None, Tensor | None], Params]:
        """Return the relevance of each factor, None for a constant one."""
        a, b = cache.xs
        factors = [True, True] if use is None else use.factors(self.constant_weights)
        return _product(a, b, a @ b, dy, factors, self.stabilizer), {}


@dataclass(frozen=True)
class Attend(UseRule):
    """Propagate relevance through attention, y = p v with p = softmax(s q kᵀ + mask).

    With `constant_weights`, the weights p are constant and v takes all: CP-LRP (Ali et al. 2022, section 4.2).
    Otherwise relevance passes as by Product, Taylor, contributions to the sum with a mask, and Product again: AttnLRP
    (Achtibat et al. 2024, section 3.2); the softmax absorbs some.
    """

    constant_weights: bool = False
    stabilizer: float = 1e-6

    def __post_init__(self) -> None:
        """Raise PellucidError for a stabilizer below 0."""
        check_range(self, stabilizer=self.stabilizer)

    def __call__(
        self, layer: Layer, params: Params, cache: Cache, dy: Tensor, use: Use | None = None
    ) -> tuple[tuple[Tensor | None, ...], Params]:
        """Return the relevance of the queries, keys, values and the mask, None for those without."""
        assert isinstance(layer, Attention)
        q, k, v, *mask = cache.xs
        p = cache.weights
        origins = (Origin.INPUT,) * len(cache.xs) if use is None else use.origins
        of_weights = min(max(*origins[:2], *origins[3:]), Origin.WEIGHTS)
        outer = Use(None, (of_weights, origins[2]))
        rp, rv = _product(p, v, p @ v, dy, outer.factors(self.constant_weights), self.stabilizer)
        if rp is None:
            return (None, None, rv, *(None for _ in mask)), {}
        products = (1 / math.sqrt(q.shape[-1]) if layer.scale is None else layer.scale) * (q @ k.mT)  # (..., T, S)
        number = next((part for part in mask if part.dtype is not torch.bool), None)
        scores = products if number is None else products + number
        shared = _taylor(scores, p, rp, -1)
        rmask = None
        if number is not None:
            parts = shared / stabilized(scores, self.stabilizer)
            shared, rmask = products * parts, unbroadcast(_finite(number * parts, p), number)
        rq, rk = _product(
            q, k.mT, q @ k.mT, _finite(shared, p), Use(None, origins[:2]).factors(False), self.stabilizer
        )  # fmt: skip
        return (rq, None if rk is None else rk.mT, rv, *(None if part is not number else rmask for part in mask)), {}


@dataclass(frozen=True)
class Taylor(UseRule):
    """Propagate relevance through softmax, p = softmax(x), linearized at x: R_i = x_i (R_i - p_i Σ_j R_j).

    The constant term of the linearization absorbs the rest, which may be of any sign. Values of -infinity, which are
    left out of an average, receive 0. Source: Achtibat et al. 2024 (AttnLRP), equation 10.
    """

    def __call__(
        self, layer: Layer, params: Params, cache: Cache, dy: Tensor, use: Use | None = None
    ) -> tuple[Tensor, Params]:
        """Return the relevance of the input; raises PellucidError if the forward pass was not watched by Origins."""
        if use is None:
            raise PellucidError("the rule Taylor needs the input of softmax; give Origins to the forward pass")
        assert isinstance(layer, Softmax)
        return _taylor(use.x, cache.y, dy, layer.axis), {}


@dataclass(frozen=True)
class FixedScale:
    """Share relevance through layer, group and instance norm, in which 1 / σ is constant and the mean is not.

    Then y_j = w_j (x_j - μ) / σ + b_j is linear in x, and R_i = x_i (g_i - mean(g)), g_j = w_j / σ R_j / y_j; the bias
    absorbs its part. Source: Ali et al. 2022, section 4.1; also in Achtibat et al. 2024.
    """

    stabilizer: float = 1e-6

    def __post_init__(self) -> None:
        """Raise PellucidError for a stabilizer below 0."""
        check_range(self, stabilizer=self.stabilizer)

    def __call__(self, layer: Layer, params: Params, cache: Cache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return the relevance of the input and of the bias."""
        x: Tensor = cache.x
        if isinstance(layer, LayerNorm):
            grouped, axes, scale, weight, bias = _layer_norm(params, cache)
        elif isinstance(layer, GroupNorm | InstanceNorm2d):
            groups = layer.groups if isinstance(layer, GroupNorm) else x.shape[1]
            grouped, axes, scale, weight, bias = _group_norm(params, cache, groups)
        else:
            raise PellucidError(f"the rule FixedScale has no form for {type(layer).__name__}; use Pass for it")
        centered = grouped - grouped.mean(axes, keepdim=True)
        y = (centered * scale).reshape(x.shape) * weight + bias
        s = dy / stabilized(y, self.stabilizer)
        g = (weight * s).reshape(grouped.shape) * scale
        dx = (grouped * (g - g.mean(axes, keepdim=True))).reshape(x.shape)
        return dx, {"bias": (bias * s).sum_to_size(bias.shape).view(params["bias"].shape)} if "bias" in params else {}


@dataclass(frozen=True)
class AsDense:
    """Apply a rule for Dense to LinearMap, whose weight and bias are inputs; the weight is constant."""

    rule: Rule

    def __call__(
        self, layer: Layer, params: Params, cache: Cache, dy: Tensor
    ) -> tuple[tuple[Tensor | None, ...], Params]:
        """Return the relevance of the input, None for the weight, and the relevance of the bias."""
        assert isinstance(layer, LinearMap)
        x, weight, *bias = cache.xs
        own = {"weight": weight, "bias": bias[0]} if bias else {"weight": weight}
        dx, dparams = self.rule(Dense(len(weight), bias=bool(bias)), own, DenseCache(x), dy)
        return (dx, None, *((dparams["bias"],) if bias else ())), {}


def _product(
    a: Tensor, b: Tensor, y: Tensor, r: Tensor, factors: list[bool], stabilizer: float
) -> tuple[Tensor | None, Tensor | None]:
    """Return the relevance of the factors of y = a b that receive some; y may lack a constant scale."""
    s = r / stabilized(sum(factors) * y, stabilizer)
    ra = unbroadcast(a * (s @ b.mT), a) if factors[0] else None
    return ra, unbroadcast(b * (a.mT @ s), b) if factors[1] else None


def _taylor(x: Tensor, p: Tensor, r: Tensor, axis: int) -> Tensor:
    return _finite(x * (r - p * r.sum(axis, keepdim=True)), p)


def _finite(r: Tensor, p: Tensor) -> Tensor:
    """Return r, and 0 where the weight p of an average is 0: such a value may be infinite."""
    return torch.where(p == 0, 0, r)


_Norm = tuple[Tensor, tuple[int, ...], Tensor, Tensor, Tensor]  # grouped x, its normalized axes, 1 / σ, weight, bias


def _layer_norm(params: Params, cache: Cache) -> _Norm:
    axes = tuple(range(-params["weight"].dim(), 0))
    return cache.x, axes, cache.invstd, params["weight"], params["bias"]


def _group_norm(params: Params, cache: Cache, groups: int) -> _Norm:
    x: Tensor = cache.x
    count = len(x), groups
    grouped = x.reshape(*count, -1)  # (N, groups, values)
    shape = 1, -1, *(1,) * (x.dim() - 2)
    one, zero = x.new_ones(1), x.new_zeros(1)
    weight, bias = params.get("weight", one).view(shape), params.get("bias", zero).view(shape)
    return grouped, (-1,), cache.invstd.view(*count, 1), weight, bias
