"""Score-CAM: class activation mapping by what each map, as a mask of the image, does to the score."""

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import integer
from pellucid.explain.averaged import variants_at_once
from pellucid.explain.gradcam import maps_of_layer, resized_map
from pellucid.explain.layout import has_channels_last, with_channels_first
from pellucid.explain.sweeps import fix_target, scores
from pellucid.explain.target import Target, repeated_target
from pellucid.layers.base import Layer, Params


@torch.no_grad()
def scorecam(
    net: Layer,
    params: Params,
    x: Tensor,
    target: Target = None,
    layer: str | None = None,
    upsample: bool = True,
    batch: int = 32,
    maps: int | None = None,
) -> Tensor:
    """Return max(Σ_k w_k A_k, 0), (N, 1, H, W), with w = softmax over k of the score of x times the mask of map A_k.

    The mask of a map is the map resized to x and scaled to the range from 0 to 1; a constant map has the mask 0. No
    gradient is used: each map costs a forward pass of each image. maps: how many of the maps to use, those whose values
    vary most; None for all. batch: the number of images per forward pass. layer,
    upsample: see `gradcam`. target: see `aim`; None is the class of x with the largest score.
    Raises PellucidError for a layer that has no maps or runs twice, and for several inputs.
    Source: Wang et al. 2020, equations 5 to 8.
    """
    if not isinstance(x, Tensor):
        raise PellucidError("scorecam needs one image as the network's input; use gradcam")
    if has_channels_last(net, x):
        map_ = scorecam(*with_channels_first(net, params, x), target, layer, upsample, batch, maps)
        return map_.movedim(1, -1)
    batch = integer(batch, "scorecam: batch", 1)
    max_maps = variants_at_once("scorecam", batch, x)
    target = fix_target(net, params, x, target)
    a, _, _, path = maps_of_layer(net, params, x, target, layer)
    if maps is not None and integer(maps, "scorecam: maps", 1) < a.shape[1]:
        indices = a.flatten(2).var(2, correction=0).topk(maps, 1).indices  # of the maps that vary most
        a = a.gather(1, indices.view(*indices.shape, *(1,) * (a.dim() - 2)).expand(-1, -1, *a.shape[2:]))
    masked_scores: list[Tensor] = []
    for part in a.split(max_maps, dim=1):
        n_maps = part.shape[1]
        masked = x[:, None] * _masks(resized_map(part, x, True, net, path))[:, :, None]  # (N, n_maps, C, H, W)
        variant_scores = scores(net, params, masked.flatten(0, 1), repeated_target(target, n_maps))
        masked_scores.append(variant_scores.view(len(x), n_maps))
    weights = torch.cat(masked_scores, 1).softmax(1).view(*a.shape[:2], *(1,) * (a.dim() - 2))  # (N, K, 1, 1)
    return resized_map((weights * a).sum(1, keepdim=True).clamp_min(0), x, upsample, net, path)


def _masks(maps: Tensor) -> Tensor:
    """Return maps (N, K, H, W), each scaled to the range from 0 to 1."""
    positions = tuple(range(2, maps.dim()))
    low = maps.amin(positions, keepdim=True)
    extent = maps.amax(positions, keepdim=True) - low
    return torch.where(extent > 0, (maps - low) / extent, 0)
