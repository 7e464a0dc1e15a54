"""Rules for layers without weights (activations, sums, products), and the layer's own gradient as a rule."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pellucid.layers.base import Cache, Layer, Params
from pellucid.operators.base import unbroadcast
from pellucid.rules.term import WithStabilizer, layer_inputs, run_term, stabilize


def own(layer: Layer, params: Params, cache: Cache, dy: Any) -> tuple[Any, Params]:
    """Return the layer's gradient with respect to its input, and {} instead of gradients of its parameters."""
    return layer.pull(params, cache, dy), {}


@dataclass(frozen=True)
class Pass:
    """Return dy unchanged, for layers whose output has the shape of the input.

    For activations and normalizations in layer-wise relevance propagation (Bach et al. 2015, section 2.4; Montavon et
    al. 2019, section 10.2.1), and for contrast normalization in a DeconvNet, which skips it in the backward pass
    (Zeiler and Fergus 2014, section 2.1).
    """

    def __call__(self, layer: Layer, params: Params, cache: Cache, dy: Any) -> tuple[Any, Params]:
        """Return dx = dy."""
        return dy, {}


@dataclass(frozen=True)
class First:
    """Return dy for the first of several inputs, summed over broadcast axes, and None for the others, the constants.

    For quotients and powers, whose denominator or exponent is treated as constant, and for comparisons. Also, in place
    of Pass, for normalizations whose scale and shift are inputs, and for ParametricReLU, whose slope is an input.
    """

    def __call__(self, layer: Layer, params: Params, cache: Cache, dy: Tensor) -> tuple[Any, Params]:
        """Return dx = dy for the first input."""
        first, *others = cache.xs
        dx = unbroadcast(dy, first)
        return (dx, *(None for _ in others)) if others else dx, {}


@dataclass(frozen=True)
class Norm(WithStabilizer):
    """Share relevance among the inputs in proportion to their contributions: R_i = Σ_j x_i a_ij / y_j R_j.

    a_ij is the weight of input i in output j; for y = x1 + x2, the first input receives R x1 / y. The `stabilizer`
    moves y away from 0. For Add, Concat, averages and resizing. Also for homogeneous functions of the given `degree`,
    with a_ij = ∂y_j / ∂x_i / degree: their contributions add up to y too (Euler's theorem).
    """

    stabilizer: float = 1e-6
    degree: float = 1.0

    def __call__(self, layer: Layer, params: Params, cache: Cache, dy: Tensor) -> tuple[Any, Params]:
        """Return the relevance of each input; raises PellucidError for a layer that does not cache its input."""
        term = run_term(layer, params, layer_inputs(self, layer, cache))
        return term.share(dy / stabilize(self.degree * term.y, self.stabilizer)), {}


@dataclass(frozen=True)
class Deconv:
    """Rectify dy, independently of the forward pass: dx = max(dy, 0).

    Source: Zeiler and Fergus 2014, section 2.1.
    """

    def __call__(self, layer: Layer, params: Params, cache: Cache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return max(dy, 0)."""
        return dy.clamp_min(0), {}


@dataclass(frozen=True)
class Guided:
    """Combine the gradient and the DeconvNet: dx is the layer's gradient for max(dy, 0) instead of dy.

    Source: Springenberg et al. 2015, section 3.4 and figure 1.
    """

    def __call__(self, layer: Layer, params: Params, cache: Cache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return the layer's dx for max(dy, 0)."""
        return layer.pull(params, cache, dy.clamp_min(0)), {}
