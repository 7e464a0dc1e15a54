"""Guided Grad-CAM: the product of guided backpropagation and Grad-CAM."""

from typing import Any

from torch import Tensor

from pellucid.explain.gradcam import weighed_maps
from pellucid.explain.maps import maps, shown
from pellucid.explain.target import Target
from pellucid.layers.base import Layer, Params
from pellucid.rules import Entrance, guided_backprop


def guided_gradcam(net: Layer, params: Params, x: Any, target: Target = None, layer: str | None = None) -> Tensor:
    """Return guided backpropagation times Grad-CAM, in x's shape.

    layer: see `gradcam`. target: see `aim`. Raises PellucidError for a layer without maps or one that runs twice.
    Source: Selvaraju et al. 2017, section 3.2.
    """
    found = maps(net, params, x, target, layer)
    where = shown(weighed_maps(found).clamp_min(0), x, upsample=True)
    return found.run.back(guided_backprop()(Entrance(x))) * where
