"""The gamma rule of layer-wise relevance propagation."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.rules.checks import at_least_zero
from pellucid.rules.outputs import OutputRule
from pellucid.rules.term import halves, linear, negative, positive, shares, stabilized, term, total, weighted_input


@dataclass(frozen=True)
class Gamma(OutputRule):
    """Share relevance by contributions of which those that agree with the output's sign weigh more.

    With c_ij = x_i w_ij and z_j = Σ_i c_ij + b_j: R_i = Σ_j (c_ij + γ c⁺_ij) / (Σ_i (c_ij + γ c⁺_ij) + b_j + γ b⁺_j)
    R_j over the outputs with z_j > 0, and the same with c⁻ and b⁻ over those with z_j < 0; c⁺ is what is positive of c.
    Where inputs are positive, as between ReLUs, w + γ w⁺ stands for w. Not `by_sign`, it does so for every output: the
    rule as first published, for positive inputs only. Without `bias`, b is left out of the sums.
    Source: Montavon et al. 2019, section 10.2.1; by sign: Andéol et al. 2021.
    """

    gamma: float = 0.25
    stabilizer: float = 1e-6
    bias: bool = True
    by_sign: bool = True

    def __post_init__(self) -> None:
        """Raise PellucidError for a gamma or a stabilizer below 0."""
        at_least_zero(self, gamma=self.gamma, stabilizer=self.stabilizer)

    def __call__(
        self, layer: Layer, params: Params, cache: Cache, dy: Tensor, y: Tensor | None = None
    ) -> tuple[Tensor, Params]:
        """Return the relevance of the input; raises PellucidError for a layer without weights."""
        x, summed = weighted_input(self, layer, params, cache), linear(layer, params, self.bias)
        if not self.by_sign:
            run = term(layer, self._up(summed), x)
            return run.share(dy / stabilized(run.y, self.stabilizer)), {}
        z = layer.forward(params, x, Mode())[0] if y is None else y
        dx = torch.zeros_like(x)
        for side, upper, lower in ((z, self._up, self._down), (-z, self._down, self._up)):
            arriving = torch.ops.aten.threshold_backward(dy, side, 0)  # dy where side > 0, else 0
            if bool(arriving.any()):  # between ReLUs, nothing arrives where z < 0
                runs = halves(layer, summed, x, upper, lower)
                dx = dx + shares(runs, arriving / stabilized(total(runs), self.stabilizer))
        return dx, {}

    def _up(self, params: Params) -> Params:
        return self._grown(params, positive(params))

    def _down(self, params: Params) -> Params:
        return self._grown(params, negative(params))

    def _grown(self, params: Params, part: Params) -> Params:
        """Return params with γ times their `part` added."""
        return {
            name: value + self.gamma * part[name] if name in ("weight", "bias") else value
            for name, value in params.items()
        }
