"""The rule of a DeconvNet's rectifiers."""

from dataclasses import dataclass

from torch import Tensor

from pellucid.layers.base import Cache, Layer, Params


@dataclass(frozen=True)
class Deconv:
    """Rectify dy, independent of the forward pass: dx = max(dy, 0).

    Source: Zeiler and Fergus 2014, section 2.1.
    """

    def __call__(self, layer: Layer, params: Params, cache: Cache, dy: Tensor) -> tuple[Tensor, Params]:
        """Return max(dy, 0)."""
        return dy.clamp_min(0), {}
