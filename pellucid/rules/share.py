"""The rule of products: relevance in equal parts."""

from dataclasses import dataclass

from torch import Tensor

from pellucid.layers.base import Cache, Layer, Params
from pellucid.rules.term import inputs


@dataclass(frozen=True)
class Share:
    """Give each of the n inputs of a product an n-th of what arrives: R_i = R / n.

    An input that was repeated along an axis takes the sum over it. It is the Shapley value of a product against
    inputs of zero. Source: Achtibat et al. 2024 (AttnLRP).
    """

    def __call__(self, layer: Layer, params: Params, cache: Cache, dy: Tensor) -> tuple[tuple[Tensor, ...], Params]:
        """Return an n-th of dy for every input; raises PellucidError for a layer with one input."""
        xs = inputs(self, layer, cache)
        return tuple((dy / len(xs)).sum_to_size(x.shape) for x in xs), {}
