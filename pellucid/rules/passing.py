"""The rule of activations: relevance passes."""

from dataclasses import dataclass
from typing import Any

from pellucid.layers.base import Cache, Layer, Params


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
