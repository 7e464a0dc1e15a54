"""The z-box rule of layer-wise relevance propagation."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.layers.base import Cache, Layer, Params
from pellucid.rules.checks import at_least_zero
from pellucid.rules.term import linear, negative, positive, stabilized, term, weighted_input

Bound = float | tuple[float, ...]  # one number, or one for each channel
SLACK = 1e-5  # of the box: how far rounding may carry an input over its edge


@dataclass(frozen=True)
class ZBox:
    """Share relevance among pixels known to lie in a box: R_i = Σ_j q_ij / Σ_i q_ij R_j.

    Here q_ij = x_i w_ij - l w⁺_ij - h w⁻_ij, which is never negative; the bias has no part. `low` l and `high` h are
    the least and the largest value that the layer's input can have: a number each, or one for each channel; of images
    standardised by mean and deviation they are (0 - mean) / std and (1 - mean) / std.
    For the layer that reads the pixels. Source: Montavon et al. 2017 (deep Taylor decomposition).
    """

    low: Bound
    high: Bound
    stabilizer: float = 1e-6

    def __post_init__(self) -> None:
        """Raise PellucidError for a stabilizer below 0."""
        at_least_zero(self, stabilizer=self.stabilizer)

    def __call__(self, layer: Layer, params: Params, cache: Cache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return the relevance of the input; raises PellucidError where it lies outside the box."""
        x, params = weighted_input(self, layer, params, cache), linear(layer, params, bias=False)
        low, high = self._filled(self.low, x), self._filled(self.high, x)
        slack = SLACK * (high - low)
        if bool((x < low - slack).any() or (x > high + slack).any()):
            raise PellucidError(
                f"ZBox: the input goes from {float(x.min()):.4g} to {float(x.max()):.4g}, not from {self.low} to "
                f"{self.high}; give the bounds of what the layer reads, after any standardising"
            )
        runs = term(layer, params, x), term(layer, positive(params), low), term(layer, negative(params), high)
        s = dy / stabilized(runs[0].y - runs[1].y - runs[2].y, self.stabilizer)
        return runs[0].share(s) - runs[1].share(s) - runs[2].share(s), {}

    def _filled(self, bound: Bound, x: Tensor) -> Tensor:
        """Return the bound in the shape of x, (N, C, ...)."""
        if not isinstance(bound, tuple):
            return torch.full_like(x, bound)
        if x.dim() < 2 or len(bound) != x.shape[1]:
            raise PellucidError(f"ZBox: {len(bound)} bounds for inputs of shape {tuple(x.shape)}; give one per channel")
        return x.new_tensor(bound).view(-1, *(1,) * (x.dim() - 2)).expand(x.shape).clone()
