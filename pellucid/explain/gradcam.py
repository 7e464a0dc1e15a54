"""Grad-CAM: feature maps weighted by the gradient of a class's score."""

from typing import Any

from torch import Tensor

from pellucid.explain.maps import Maps, maps, shown
from pellucid.explain.target import Target
from pellucid.layers.base import Layer, Params


def gradcam(
    net: Layer,
    params: Params,
    x: Any,
    target: Target = None,
    layer: str | None = None,
    signed: bool = False,
    upsample: bool = True,
) -> Tensor:
    """Return max(Σ_k w_k A_k, 0), (N, 1, H, W): maps A, each weighed by its mean gradient w_k = mean ∂ score / ∂ A_k.

    layer: the path of the maps, by default the last ones before pooling. signed: without the rectification. upsample:
    to the size of x, bilinear; else in that of the maps. target: see `aim`. Raises PellucidError for a layer without
    maps or one that runs twice. Source: Selvaraju et al. 2017, equations 1 and 2.
    """
    weighed = weighed_maps(maps(net, params, x, target, layer))
    return shown(weighed if signed else weighed.clamp_min(0), x, upsample)


def weighed_maps(found: Maps) -> Tensor:
    """Return Σ_k w_k A_k, (N, 1, h, w)."""
    return (found.da.mean((2, 3), keepdim=True) * found.a).sum(1, keepdim=True)
