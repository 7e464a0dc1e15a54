"""The rules of layer-wise relevance propagation: how a layer with weights divides relevance among its inputs.

In place of the gradients of parameters, the rules return the relevance that the bias absorbs.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check_range
from pellucid.base.text import plural
from pellucid.combine.base import add_up_tree
from pellucid.layers import AdaptiveAvgPool2d, AvgPool2d
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.rules.outputs import OutputRule
from pellucid.rules.term import (
    WithStabilizer,
    contributions,
    divide_relevance,
    linearize,
    negative_part,
    positive_part,
    run_term,
    signed_terms,
    single_input,
    stabilize,
    weighted_input,
)

Bound = float | tuple[float, ...]  # bound of the input: one value, or one for each channel
BOUNDS_TOLERANCE = 1e-5  # tolerance for rounding errors at the bounds, relative to the size of the box


@dataclass(frozen=True)
class Zero(OutputRule):
    """Share relevance by contributions: R_i = x_i Σ_j w_ij R_j / z_j, with z_j = Σ_i x_i w_ij + b_j.

    An output that is exactly 0 passes no relevance on. The relevance of the bias is lost; without `bias`, b is left out
    of z. Source: Bach et al. 2015, equation 56; Montavon et al. 2019, section 10.2.1.
    """

    bias: bool = True

    def __call__(
        self, layer: Layer, params: Params, cache: Cache, dy: Tensor, y: Tensor | None = None
    ) -> tuple[Any, Params]:
        """Return the relevance of each input; raises PellucidError for a layer that does not cache its input."""
        term = contributions(self, layer, params, cache, self.bias, y)
        s = torch.where(term.y == 0, 0, dy / term.y)
        return term.share(s), term.bias_share(s)


@dataclass(frozen=True)
class Epsilon(OutputRule):
    """Share relevance by contributions: R_i = x_i Σ_j w_ij R_j / (z_j + ε sign z_j), with z_j = Σ_i x_i w_ij + b_j.

    The relevance of the bias and of ε is lost; without `bias`, b is left out of z, and only the relevance of ε is lost.
    Source: Bach et al. 2015, equation 58.
    """

    epsilon: float = 1e-6
    bias: bool = True

    def __post_init__(self) -> None:
        """Raise PellucidError for an epsilon below 0."""
        check_range(self, epsilon=self.epsilon)

    def __call__(
        self, layer: Layer, params: Params, cache: Cache, dy: Tensor, y: Tensor | None = None
    ) -> tuple[Any, Params]:
        """Return the relevance of each input; raises PellucidError for a layer that does not cache its input."""
        term = contributions(self, layer, params, cache, self.bias, y)
        s = dy / stabilize(term.y, self.epsilon)
        return term.share(s), term.bias_share(s)


@dataclass(frozen=True)
class Gamma(OutputRule):
    """Share relevance by contributions, with more weight on contributions with the sign of the output.

    With c_ij = x_i w_ij and z_j = Σ_i c_ij + b_j: R_i = Σ_j (c_ij + γ c⁺_ij) / (Σ_i (c_ij + γ c⁺_ij) + b_j + γ b⁺_j)
    R_j over the outputs with z_j > 0, and the same with c⁻ and b⁻ over the outputs with z_j < 0; c⁺ = max(c, 0).
    For positive inputs, as between ReLUs, and z_j > 0, this replaces w by w + γ w⁺. With `by_sign=False`, w + γ w⁺ is
    used for every output: the rule as first published, for positive inputs only. Without `bias`, b is left out.
    Source: Montavon et al. 2019, section 10.2.1; by sign: Andéol et al. 2021.
    """

    gamma: float = 0.25
    stabilizer: float = 1e-6
    bias: bool = True
    by_sign: bool = True

    def __post_init__(self) -> None:
        """Raise PellucidError for a gamma or a stabilizer below 0."""
        check_range(self, gamma=self.gamma, stabilizer=self.stabilizer)

    def __call__(
        self, layer: Layer, params: Params, cache: Cache, dy: Tensor, y: Tensor | None = None
    ) -> tuple[Tensor, Params]:
        """Return the relevance of the input; raises PellucidError for a layer without weights."""
        x = weighted_input(self, layer, params, cache)
        linear_params = linearize(layer, params, self.bias)
        if not self.by_sign:
            return divide_relevance([run_term(layer, self._enlarge_positive(linear_params), x)], dy, self.stabilizer)
        z = layer.forward(params, x, Mode())[0] if y is None else y
        dx = torch.zeros_like(x)
        dparams = Params()
        for signed_z, upper, lower in (
            (z, self._enlarge_positive, self._enlarge_negative),
            (-z, self._enlarge_negative, self._enlarge_positive),
        ):
            selected_dy = torch.ops.aten.threshold_backward(dy, signed_z, 0)  # dy where signed_z > 0, else 0
            if bool(selected_dy.any()):  # between ReLUs, dy is 0 where z < 0
                side_dx, bias_relevance = divide_relevance(
                    signed_terms(layer, linear_params, x, upper, lower), selected_dy, self.stabilizer
                )
                dx = dx + side_dx
                dparams = add_up_tree(dparams, bias_relevance)
        return dx, dparams

    def _enlarge_positive(self, params: Params) -> Params:
        return self._add_scaled(params, positive_part(params))

    def _enlarge_negative(self, params: Params) -> Params:
        return self._add_scaled(params, negative_part(params))

    def _add_scaled(self, params: Params, signed_params: Params) -> Params:
        """Return params with γ times `signed_params` added to weight and bias."""
        return {
            name: value + self.gamma * signed_params[name] if name in ("weight", "bias") else value
            for name, value in params.items()
        }


@dataclass(frozen=True)
class ZPlus(WithStabilizer):
    """Share relevance only among positive contributions: R_i = Σ_j c⁺_ij / (Σ_i c⁺_ij + b⁺_j) R_j, c_ij = x_i w_ij.

    Without `bias`, b⁺ is left out. Equal to AlphaBeta with alpha 1 and beta 0. Source: Montavon et al. 2017 (deep
    Taylor decomposition), extended by x⁻ w⁻ to inputs of any sign.
    """

    stabilizer: float = 1e-6
    bias: bool = True

    def __call__(self, layer: Layer, params: Params, cache: Cache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return the relevance of the input; raises PellucidError for a layer without weights."""
        x = weighted_input(self, layer, params, cache)
        params = linearize(layer, params, self.bias)
        return divide_relevance(signed_terms(layer, params, x, positive_part, negative_part), dy, self.stabilizer)


@dataclass(frozen=True)
class AlphaBeta:
    """Weight positive and negative contributions separately: R_i = Σ_j (α c⁺_ij / z⁺_j - β c⁻_ij / z⁻_j) R_j.

    c_ij = x_i w_ij and z⁺_j = Σ_i c⁺_ij + b⁺_j; z⁻ likewise. Without `bias`, b is left out. alpha - beta must be 1,
    which keeps the sum of relevance.
    Source: Bach et al. 2015, equation 60.
    """

    alpha: float = 2.0
    beta: float = 1.0
    stabilizer: float = 1e-6
    bias: bool = True

    def __post_init__(self) -> None:
        """Raise PellucidError unless alpha - beta is 1, and for negative values."""
        check_range(self, alpha=self.alpha, beta=self.beta, stabilizer=self.stabilizer)
        if abs(self.alpha - self.beta - 1) > 1e-9:  # rounding errors are allowed
            raise PellucidError(
                f"AlphaBeta: alpha - beta must be 1 to keep the sum of relevance, not {self.alpha} - {self.beta}"
            )

    def __call__(self, layer: Layer, params: Params, cache: Cache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return the relevance of the input; raises PellucidError for a layer without weights."""
        x = weighted_input(self, layer, params, cache)
        params = linearize(layer, params, self.bias)
        dx, dparams = divide_relevance(
            signed_terms(layer, params, x, positive_part, negative_part), dy, self.stabilizer, self.alpha
        )
        if self.beta:
            terms = signed_terms(layer, params, x, negative_part, positive_part)
            beta_dx, bias_relevance = divide_relevance(terms, dy, self.stabilizer, -self.beta)
            dx = dx + beta_dx
            dparams = add_up_tree(dparams, bias_relevance)
        return dx, dparams


@dataclass(frozen=True)
class WSquare(WithStabilizer):
    """Share relevance by squared weights, independent of the input: R_i = Σ_j w²_ij / Σ_i w²_ij R_j.

    With `bias`, b²_j is added to the denominator. For the layer that receives the network's input.
    Source: Montavon et al. 2017 (deep Taylor decomposition).
    """

    stabilizer: float = 1e-6
    bias: bool = False

    def __call__(self, layer: Layer, params: Params, cache: Cache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return the relevance of the input; raises PellucidError for a layer without weights."""
        x = weighted_input(self, layer, params, cache)
        params = linearize(layer, params, self.bias)
        squared_params = {name: value**2 if name in ("weight", "bias") else value for name, value in params.items()}
        return divide_relevance([run_term(layer, squared_params, torch.ones_like(x))], dy, self.stabilizer)


@dataclass(frozen=True)
class Flat(WithStabilizer):
    """Share relevance in equal parts among the n_j inputs that output j depends on: R_i = Σ_j R_j / n_j.

    Equal to WSquare with weights of 1. For the layer that receives the network's input, to smooth the map.
    Source: Lapuschkin et al. 2019.
    """

    stabilizer: float = 1e-6

    def __call__(self, layer: Layer, params: Params, cache: Cache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return the input's relevance; raise PellucidError for layers without weights other than average pooling."""
        x = (
            single_input(self, layer, cache)
            if isinstance(layer, AvgPool2d | AdaptiveAvgPool2d)
            else weighted_input(self, layer, params, cache)
        )
        params = linearize(layer, params, bias=False)
        unit_params = {name: torch.ones_like(value) if name == "weight" else value for name, value in params.items()}
        term = run_term(layer, unit_params, torch.ones_like(x))
        return term.share(dy / stabilize(term.y, self.stabilizer)), {}


@dataclass(frozen=True)
class ZBox(WithStabilizer):
    """Share relevance among pixels with known bounds: R_i = Σ_j q_ij / Σ_i q_ij R_j.

    q_ij = x_i w_ij - l w⁺_ij - h w⁻_ij, which is never negative; the bias is not used. `low` l and `high` h are the
    smallest and the largest possible value of the layer's input: one value each, or one for each channel. For images
    from 0 to 1 that are standardized, they are (0 - mean) / std and (1 - mean) / std. For the layer that receives the
    pixels. Source: Montavon et al. 2017 (deep Taylor decomposition).
    """

    low: Bound
    high: Bound
    stabilizer: float = 1e-6

    def __call__(self, layer: Layer, params: Params, cache: Cache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return the relevance of the input; raises PellucidError if the input is outside of the bounds."""
        x = weighted_input(self, layer, params, cache)
        params = linearize(layer, params, bias=False)
        low, high = self._expand_bound(self.low, x), self._expand_bound(self.high, x)
        tolerance = BOUNDS_TOLERANCE * (high - low)
        if bool((x < low - tolerance).any() or (x > high + tolerance).any()):
            raise PellucidError(
                f"ZBox: the input ranges from {float(x.min()):.4g} to {float(x.max()):.4g}, outside of {self.low} to "
                f"{self.high}; give the bounds of the layer's input, after any standardisation"
            )
        terms = (
            run_term(layer, params, x),
            run_term(layer, positive_part(params), low),
            run_term(layer, negative_part(params), high),
        )
        s = dy / stabilize(terms[0].y - terms[1].y - terms[2].y, self.stabilizer)
        return terms[0].share(s) - terms[1].share(s) - terms[2].share(s), {}

    def _expand_bound(self, bound: Bound, x: Tensor) -> Tensor:
        """Return the bound as a tensor with the shape of x, (N, C, ...)."""
        if not isinstance(bound, tuple):
            return torch.full_like(x, bound)
        if x.dim() < 2 or len(bound) != x.shape[1]:
            raise PellucidError(
                f"ZBox: {plural(len(bound), 'bound')} for inputs of shape {tuple(x.shape)}; give one per channel"
            )
        return x.new_tensor(bound).view(-1, *(1,) * (x.dim() - 2)).expand(x.shape).clone()
