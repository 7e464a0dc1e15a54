"""Grad-CAM++: Grad-CAM for several objects of one class in an image."""

from typing import Any

import torch
from torch import Tensor

from pellucid.explain.maps import maps, shown
from pellucid.explain.target import Target
from pellucid.layers.base import Layer, Params


def gradcam_plus_plus(
    net: Layer,
    params: Params,
    x: Any,
    target: Target = None,
    layer: str | None = None,
    upsample: bool = True,
) -> Tensor:
    """Return max(Σ_k w_k A_k, 0), (N, 1, H, W), with w_k = Σ_ij α_kij max(g_kij, 0), g = ∂ score / ∂ A.

    α = g² / (2 g² + g³ Σ_ab A_kab), and 0 where g is: from the second and third derivatives of exp(score) in a
    piecewise linear network. Its factor exp(score), one for each image, is left out. layer, upsample: see
    `gradcam`. target: see `aim`. Raises PellucidError for a layer without maps or one that runs twice.
    Source: Chattopadhyay et al. 2018, equations 5, 10 and 19.
    """
    a, da, _ = maps(net, params, x, target, layer)
    below = 2 * da**2 + da**3 * a.sum((2, 3), keepdim=True)
    alpha = torch.where(below == 0, 0, da**2 / below)
    weights = (alpha * da.clamp_min(0)).sum((2, 3), keepdim=True)  # (N, C, 1, 1)
    return shown((weights * a).sum(1, keepdim=True).clamp_min(0), x, upsample)
