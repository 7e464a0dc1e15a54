"""Rules that need no weights: of activations, sums, products, and of the layer's own gradient."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pellucid.layers.base import Cache, Layer, Params
from pellucid.rules.term import at_least_zero, inputs, stabilized, term


def own(layer: Layer, params: Params, cache: Cache, dy: Any) -> tuple[Any, Params]:
    """Return the layer's gradient with respect to its input, and none for its parameters."""
    return layer.pull(params, cache, dy), {}


@dataclass(frozen=True)
class Pass:
    """Return dy unchanged through layers whose output has the input's shape.

    For activations and normalizations in layer-wise relevance propagation (Bach et al. 2015, section 2.4; Montavon et
    al. 2019, section 10.2.1), and for contrast normalization in a DeconvNet, which skips it in the backward pass
    (Zeiler and Fergus 2014, section 2.1).
    """

    def __call__(self, layer: Layer, params: Params, cache: Cache, dy: Any) -> tuple[Any, Params]:
        """Return dx = dy."""
        return dy, {}


@dataclass(frozen=True)
class Norm:
    """Share relevance among the inputs in proportion to their part of the output: R_i = Σ_j x_i a_ij / y_j R_j.

    a_ij is how input i weighs in output j, so that of y = x1 + x2 the first takes x1 / y of R. The `stabilizer` moves
    y away from 0. For Add, Concat, averages and resizing.
    """

    stabilizer: float = 1e-6

    def __post_init__(self) -> None:
        """Raise PellucidError for a stabilizer below 0."""
        at_least_zero(self, stabilizer=self.stabilizer)

    def __call__(self, layer: Layer, params: Params, cache: Cache, dy: Tensor) -> tuple[Any, Params]:
        """Return the relevance of each input; raises PellucidError for a layer that does not keep its input."""
        run = term(layer, params, inputs(self, layer, cache))
        return run.share(dy / stabilized(run.y, self.stabilizer)), {}


@dataclass(frozen=True)
class Share:
    """Divide relevance equally among the n inputs of a product: R_i = R / n.

    An input that was repeated along an axis takes the sum over it. It is the Shapley value of a product against
    inputs of zero. Source: Achtibat et al. 2024 (AttnLRP).
    """

    def __call__(self, layer: Layer, params: Params, cache: Cache, dy: Tensor) -> tuple[tuple[Tensor, ...], Params]:
        """Return an n-th of dy for every input; raises PellucidError for a layer with one input."""
        xs = inputs(self, layer, cache)
        return tuple((dy / len(xs)).sum_to_size(x.shape) for x in xs), {}


@dataclass(frozen=True)
class Deconv:
    """Rectify dy, independent of the forward pass: dx = max(dy, 0).

    Source: Zeiler and Fergus 2014, section 2.1.
    """

    def __call__(self, layer: Layer, params: Params, cache: Cache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return max(dy, 0)."""
        return dy.clamp_min(0), {}


@dataclass(frozen=True)
class Guided:
    """Combine the gradient and the DeconvNet: the layer's own dx of max(dy, 0).

    Source: Springenberg et al. 2015, section 3.4 and figure 1.
    """

    def __call__(self, layer: Layer, params: Params, cache: Cache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return the gradient of the positive part of dy."""
        return layer.pull(params, cache, dy.clamp_min(0)), {}
