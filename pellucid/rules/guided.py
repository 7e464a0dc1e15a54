"""The rule of guided backpropagation."""

from dataclasses import dataclass

from torch import Tensor

from pellucid.layers.base import Cache, Layer, Params


@dataclass(frozen=True)
class Guided:
    """Let pass what both the gradient and a DeconvNet let pass: the layer's own dx of max(dy, 0).

    Source: Springenberg et al. 2015, section 3.4 and figure 1.
    """

    def __call__(self, layer: Layer, params: Params, cache: Cache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return the gradient of what is positive in dy."""
        return layer.pull(params, cache, dy.clamp_min(0)), {}
