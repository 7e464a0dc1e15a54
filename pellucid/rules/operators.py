"""Rules of relevance for products, attention, softmax and norms, the operators of transformers and gated networks."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.layers import Softmax
from pellucid.layers.base import Cache, Layer, Mode, Params, Trait
from pellucid.layers.dense import DenseCache
from pellucid.operators import Attention, MatMul, NormalizeChannels, NormalizeGroups, NormalizeLast
from pellucid.operators.base import unbroadcast
from pellucid.operators.moves import InputsCache
from pellucid.rules.norms import find_normalization
from pellucid.rules.origins import Origin, Use, UseRule
from pellucid.rules.term import WithStabilizer, stabilize
from pellucid.sweep import Rule


@dataclass(frozen=True)
class Share(UseRule):
    """Divide relevance equally among the n inputs of an elementwise product: R_i = R / n.

    Only inputs that are computed from the network's input count; others, such as a learned scale, are constant. With
    `constant_weights`, outputs of softmax, sigmoid and hard sigmoid are constant too, so the value receives all
    relevance and its gate none (Arras et al. 2017). If an input was broadcast along an axis, its relevance is summed
    over this axis. R / n is the Shapley value of a product with a baseline of 0.
    Source: Achtibat et al. 2024 (AttnLRP), equation 13.
    """

    constant_weights: bool = False

    def __call__(
        self, layer: Layer, params: Params, cache: Cache, dy: Tensor, use: Use | None = None
    ) -> tuple[tuple[Tensor | None, ...], Params]:
        """Return dy / n for each of the n inputs that count, and None for constants."""
        xs: tuple[Tensor, ...] = cache.xs
        receives_relevance = [True] * len(xs) if use is None else use.factors(self.constant_weights)
        share = dy / sum(receives_relevance)
        return tuple(
            unbroadcast(share, x) if receives else None for x, receives in zip(xs, receives_relevance, strict=True)
        ), {}


@dataclass(frozen=True)
class Product(UseRule, WithStabilizer):
    """Share relevance by contributions among the factors of y = a b: R_a = a ∘ (s bᵀ) and R_b = b ∘ (aᵀ s), s = R / 2y.

    These are the formulas for products of matrices. For n factors, such as those of Einstein sums, R_a = a ∘ ∂y/∂a s
    with s = R / n y. If only one factor is computed from the network's input, the other is constant and s is R / y.
    With `constant_weights`, outputs of softmax are constant too, as the attention weights in CP-LRP (Ali et al. 2022,
    section 4.2). Otherwise factors receive equal parts. Source: Achtibat et al. 2024 (AttnLRP), equation 15.
    """

    constant_weights: bool = False
    stabilizer: float = 1e-6

    def __call__(
        self, layer: Layer, params: Params, cache: Cache, dy: Tensor, use: Use | None = None
    ) -> tuple[Any, Params]:
        """Return the relevance of each factor, None for a constant one."""
        xs: tuple[Tensor, ...] = cache.xs
        receives_relevance = [True] * len(xs) if use is None else use.factors(self.constant_weights)
        y, _ = layer.forward(params, xs[0] if len(xs) == 1 else xs, Mode())
        parts = _factor_relevance(layer, xs, y, dy, receives_relevance, self.stabilizer)
        return parts[0] if len(parts) == 1 else parts, {}


@dataclass(frozen=True)
class Attend(UseRule, WithStabilizer):
    """Propagate relevance through attention, y = p v with p = softmax(s q kᵀ + mask).

    With `constant_weights`, the weights p are constant and v receives all relevance: CP-LRP (Ali et al. 2022, section
    4.2). Otherwise the rules are those of AttnLRP (Achtibat et al. 2024, section 3.2): Product for p v, Taylor for the
    softmax, which absorbs some relevance, contributions for the sum with the mask, and Product for q kᵀ.
    """

    constant_weights: bool = False
    stabilizer: float = 1e-6

    def __call__(
        self, layer: Layer, params: Params, cache: Cache, dy: Tensor, use: Use | None = None
    ) -> tuple[tuple[Tensor | None, ...], Params]:
        """Return the relevance of the queries, keys, values and the mask, None for each that receives none."""
        assert isinstance(layer, Attention)
        q, k, v, *mask = cache.xs
        p = cache.weights
        origins = (Origin.INPUT,) * len(cache.xs) if use is None else use.origins
        weights_origin = min(max(*origins[:2], *origins[3:]), Origin.WEIGHTS)  # of queries, keys and masks
        outer_use = Use(None, (weights_origin, origins[2]))
        rp, rv = _factor_relevance(
            MatMul(), (p, v), p @ v, dy, outer_use.factors(self.constant_weights), self.stabilizer
        )
        if rp is None:
            return (None, None, rv, *(None for _ in mask)), {}
        products = (1 / math.sqrt(q.shape[-1]) if layer.scale is None else layer.scale) * (q @ k.mT)  # (..., T, S)
        additive_masks = [mask_part for mask_part in mask if mask_part.dtype is not torch.bool]
        scores = products
        for additive_mask in additive_masks:
            scores = scores + additive_mask
        products_relevance = _softmax_relevance(scores, p, rp, -1)
        quotient = products_relevance
        if additive_masks:  # the sum with the masks divides the relevance by contributions
            quotient = products_relevance / stabilize(scores, self.stabilizer)
            products_relevance = products * quotient
        rmasks = (
            None
            if mask_part.dtype is torch.bool
            else unbroadcast(_zero_where_unweighted(mask_part * quotient, p), mask_part)
            for mask_part in mask
        )
        inner_factors = Use(None, origins[:2]).factors(False)
        rq, rk = _factor_relevance(
            MatMul(), (q, k.mT), q @ k.mT, _zero_where_unweighted(products_relevance, p), inner_factors, self.stabilizer
        )
        return (rq, None if rk is None else rk.mT, rv, *rmasks), {}


@dataclass(frozen=True)
class Taylor(UseRule):
    """Propagate relevance through softmax, p = softmax(x), linearized at x: R_i = x_i (R_i - p_i Σ_j R_j).

    The constant term of the linearization absorbs the rest, which may be of any sign. Inputs of -infinity, which mask
    values, receive 0. Source: Achtibat et al. 2024 (AttnLRP), equation 10.
    """

    def __call__(
        self, layer: Layer, params: Params, cache: Cache, dy: Tensor, use: Use | None = None
    ) -> tuple[Tensor, Params]:
        """Return the relevance of the input; raise PellucidError if the forward pass was not watched by Origins."""
        if use is None:
            raise PellucidError("the rule Taylor needs the input of softmax; give Origins to the forward pass")
        assert isinstance(layer, Softmax)
        return _softmax_relevance(use.x, cache.y, dy, layer.axis), {}


@dataclass(frozen=True)
class FixedScale(WithStabilizer):
    """Share relevance through layer, group and instance norm, in which 1 / σ is constant and the mean is not.

    Then y_j = w_j (x_j - μ) / σ + b_j is linear in x, and R_i = x_i (g_i - mean(g)), g_j = w_j / σ R_j / y_j. The bias
    absorbs b_j R_j / y_j, or receives it if it is an input. w is constant.
    Source: Ali et al. 2022, section 4.1; also in Achtibat et al. 2024.
    """

    stabilizer: float = 1e-6

    def __call__(self, layer: Layer, params: Params, cache: Cache, dy: Tensor) -> tuple[Any, Params]:
        """Return the relevance of the input and of the bias."""
        norm = find_normalization(layer, params, cache)
        if norm is None:
            raise PellucidError(f"the rule FixedScale has no form for {type(layer).__name__}; use Pass for it")
        shape, grouped, axes = norm.shape, norm.x, norm.axes
        centered = grouped - grouped.mean(axes, keepdim=True)
        y = (centered * norm.scale).reshape(shape) * norm.weight + norm.bias
        s = dy / stabilize(y, self.stabilizer)
        g = (norm.weight * s).reshape(grouped.shape) * norm.scale
        dx = (grouped * (g - g.mean(axes, keepdim=True))).reshape(shape)
        bias_relevance = (norm.bias * s).sum_to_size(norm.bias.shape).flatten()
        if not isinstance(layer, NormalizeLast | NormalizeGroups | NormalizeChannels):
            return dx, {"bias": bias_relevance.view(params["bias"].shape)} if "bias" in params else {}
        further_relevance = (
            (None, *(bias_relevance.view(part.shape) for part in cache.xs[2:])) if len(cache.xs) > 1 else ()
        )
        return (dx, *further_relevance) if further_relevance else dx, {}


@dataclass(frozen=True)
class AsWeighted:
    """Apply a rule for layers with weights to LinearMap or Convolve, whose weight and bias are inputs.

    The weight is constant, even if it is computed.
    """

    rule: Rule

    def __call__(
        self, layer: Layer, params: Params, cache: Cache, dy: Tensor
    ) -> tuple[tuple[Tensor | None, ...], Params]:
        """Return the relevance of the input, None for the weight, and the relevance of the bias."""
        x, *weight_and_bias = cache.xs
        given_params: Params = dict(zip(("weight", "bias"), weight_and_bias, strict=False))  # the bias may be missing
        dx, dparams = self.rule(_OperatorLayer(layer), given_params, DenseCache(x), dy)
        bias = dparams.get("bias") if len(weight_and_bias) > 1 else None
        return (dx, None, *(bias for _ in weight_and_bias[1:])), {}


@dataclass(frozen=True)
class _OperatorLayer(Layer):
    """LinearMap or Convolve as a layer whose parameters are the operator's other inputs, weight and bias."""

    traits: ClassVar[Trait] = Trait.LINEAR | Trait.WEIGHTED

    operator: Layer

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Raise PellucidError: weight and bias are inputs and cannot be drawn."""
        raise PellucidError(f"{type(self.operator).__name__} has no parameters of its own")

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, DenseCache]:
        """Run the operator."""
        return self.operator.forward({}, (x, *params.values()), mode)[0], DenseCache(x)

    def backward(self, params: Params, cache: DenseCache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return the operator's gradients: with respect to x, and by name with respect to weight and bias."""
        dx, *param_gradients = self.operator.pull({}, InputsCache((cache.x, *params.values())), dy)
        return dx, dict(zip(params, param_gradients, strict=True))


def _factor_relevance(
    layer: Layer,
    xs: tuple[Tensor, ...],
    y: Tensor,
    relevance: Tensor,
    receives_relevance: list[bool],
    stabilizer: float,
) -> tuple[Tensor | None, ...]:
    """Return the relevance of each factor, None for constants; y is linear in each factor, up to a constant scale."""
    gradients: Any = layer.pull({}, InputsCache(xs), relevance / stabilize(sum(receives_relevance) * y, stabilizer))
    all_gradients = (gradients,) if len(xs) == 1 else gradients
    return tuple(
        x * gradient if receives else None
        for x, gradient, receives in zip(xs, all_gradients, receives_relevance, strict=True)
    )


def _softmax_relevance(x: Tensor, p: Tensor, relevance: Tensor, axis: int) -> Tensor:
    return _zero_where_unweighted(x * (relevance - p * relevance.sum(axis, keepdim=True)), p)


def _zero_where_unweighted(relevance: Tensor, p: Tensor) -> Tensor:
    """Return the relevance, with 0 where the softmax weight p is 0, because it may be infinite there."""
    return torch.where(p == 0, 0, relevance)
