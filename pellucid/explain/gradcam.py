"""Class activation mapping by gradients: Grad-CAM, Grad-CAM++, Layer-CAM and Guided Grad-CAM."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.errors import PellucidError, nearest
from pellucid.combine.base import Combinator, walk
from pellucid.explain.functions import mapped
from pellucid.explain.layout import ImageOutputs, check_has_rules, has_channels_last, used_inputs
from pellucid.explain.sweeps import ForwardPass, forward_to
from pellucid.explain.target import Target
from pellucid.explain.tokens import TokenOutput, Tokens
from pellucid.layers import AdaptiveAvgPool2d, AvgPool2d, LpPool2d, MaxPool2d
from pellucid.layers.base import Cache, Layer, Params, Trait
from pellucid.rules import Entrance, guided_backprop

INTERPOLATION = {1: "linear", 2: "bilinear", 3: "trilinear"}  # by the number of the axes of positions
POOLING_LAYERS = (MaxPool2d, AvgPool2d, AdaptiveAvgPool2d, LpPool2d)


class LayerMaps(NamedTuple):
    """A layer's output a (N, C, H, W), the gradient da of the target's score, the forward pass and the layer's path."""

    a: Tensor
    da: Tensor
    run: ForwardPass
    path: str

    @property
    def positions(self) -> tuple[int, ...]:
        """The axes of the positions in a map."""
        return tuple(range(2, self.a.dim()))


class _LayerReached(Exception):  # noqa: N818 - not an error
    """Raised to end the backward pass at the layer, since earlier layers are not needed."""

    def __init__(self, path: str, dy: Tensor) -> None:
        super().__init__()
        self.path = path
        self.dy = dy


def maps_of_layer(net: Layer, params: Params, x: Any, target: Target, layer: str | None) -> LayerMaps:
    """Return the maps of the layer at path `layer`, by default the last layer with maps that is not a pooling layer.

    The path may be that of a module of an opened network.

    In a network that mixes positions after its last maps, such as a transformer, the tokens are used as maps: by
    default the tokens of the last norm or sum whose tokens, other than class tokens, affect the score.
    Raises PellucidError for a layer that outputs no maps, runs twice, or has no effect on the target.
    """
    outputs: dict[str, list[Any]] = {}
    paths = [path for path, _ in walk(net)]
    if layer is not None and layer not in paths:
        paths_inside = [path for path in paths if path.startswith(f"{layer}.")]
        if not paths_inside:
            raise PellucidError(f"no layer {layer!r}{nearest(layer, paths)}")
        layer = paths_inside[-1]  # a module of an opened network: its output is that of its last operator

    images = ImageOutputs(net, x)
    tokens = Tokens(images)

    def watch(path: str, current_layer: Layer, x: Any, y: Any, cache: Cache) -> None:
        is_image = images(path, current_layer, x, y)
        if images.uses_whole_tensors:
            tokens(path, current_layer, x, y, cache)
        if path == layer or (layer is None and is_image and _has_maps(current_layer, y)):
            outputs.setdefault(path, []).append(y if is_image or isinstance(current_layer, Combinator) else None)

    run = forward_to(net, params, x, target, watch)
    if candidates := _token_candidates(tokens, images, layer):
        return _token_maps(run, candidates)
    if not outputs and layer is None:
        raise PellucidError("the network has no feature maps, which class activation mapping needs; use saliency")
    path = layer if layer is not None else list(outputs)[-1]
    if layer is None and images.mixing_path:
        raise PellucidError(
            f"after its last maps, {path!r}, the network mixes positions ({images.mixing_path}), and no layer has one "
            "token for each part of the image, so that class activation mapping does not explain its score; use "
            "saliency, or give a layer"
        )
    values = outputs.get(path, [])
    if len(values) > 1:
        raise PellucidError(f"the layer {path!r} runs more than once, so it has several outputs; give another")
    if values and not (isinstance(values[0], Tensor) and values[0].dim() > 2):
        raise PellucidError(f"the layer {path!r} outputs no feature maps (N, C, H, W); give another")
    return LayerMaps(values[0], _output_gradient(run, path), run, path) if values else _raise_no_effect(path)


def _token_candidates(tokens: Tokens, images: ImageOutputs, layer: str | None) -> dict[str, TokenOutput]:
    """Return the outputs that can be arranged as maps, by path."""
    if layer is None and not images.mixing_path:
        return {}
    return {
        path: output
        for path, output in tokens.outputs.items()
        if output is not None
        and (path == layer or (layer is None and output.layer.traits & (Trait.NORM | Trait.ADDITIVE)))
    }


def _token_maps(run: ForwardPass, candidates: dict[str, TokenOutput]) -> LayerMaps:
    """Return the maps of the last candidate that affects the score."""

    def watch(path: str, layer: Layer, dy: Any, dx: Any, dparams: Params) -> None:
        if path in candidates and bool((da := candidates[path].part_labels.maps(dy)).any()):
            raise _LayerReached(path, da)

    try:
        run.propagate_back(watch=watch, consume=False)
    except _LayerReached as reached:
        _, y, part_labels = candidates[reached.path]
        return LayerMaps(part_labels.maps(y), reached.dy, run, reached.path)
    return _raise_no_effect(list(candidates)[-1])


def resized_map(map_: Tensor, x: Any, upsample: bool, net: Layer, path: str) -> Any:
    """Return maps (N, 1, h, w) of the layer at `path`, resized linearly to the images x if `upsample`.

    Those of images (N, H, W, C) are (N, H, W, 1). For several inputs, the result is a tuple: the maps for each input
    that the layer depends on, and None for the others.
    """
    if isinstance(x, tuple):
        is_used_by_input = used_inputs(net, path, len(x))
        return tuple(
            resized_map(map_, image, upsample, net, path) if is_used else None
            for image, is_used in zip(cast("tuple[Tensor, ...]", x), is_used_by_input, strict=True)
        )
    channels_last = has_channels_last(net, x)
    size = x.shape[1:-1] if channels_last else x.shape[2:]
    if upsample:
        if len(size) != map_.dim() - 2:
            raise PellucidError(
                f"the maps {tuple(map_.shape[2:])} of {path!r} have other axes than the input {tuple(x.shape[1:])}; "
                "give upsample=False"
            )
        map_ = F.interpolate(map_, size, mode=INTERPOLATION[len(size)])
    return map_.movedim(1, -1) if channels_last else map_


def _has_maps(layer: Layer, y: Any) -> bool:
    if isinstance(layer, (Combinator, *POOLING_LAYERS)) or not isinstance(y, Tensor):
        return False
    return y.shape[2:].numel() > 1


def _output_gradient(run: ForwardPass, path: str) -> Tensor:
    """Return the gradient with respect to the output of the layer at `path`; the backward pass ends there."""

    def watch(current_path: str, layer: Layer, dy: Any, dx: Any, dparams: Params) -> None:
        if current_path == path:
            raise _LayerReached(current_path, dy)

    try:
        run.propagate_back(watch=watch, consume=False)
    except _LayerReached as reached:
        return reached.dy
    return _raise_no_effect(path)


def _raise_no_effect(path: str) -> Any:
    raise PellucidError(f"the target's score does not depend on the layer {path!r}; give another")


def gradcam(
    net: Layer,
    params: Params,
    x: Any,
    target: Target = None,
    layer: str | None = None,
    signed: bool = False,
    upsample: bool = True,
    local: bool = False,
) -> Tensor:
    """Return max(Σ_k w_k A_k, 0), (N, 1, H, W): maps A, each weighted by its mean gradient w_k = mean ∂ score / ∂ A_k.

    layer: path of the layer, by default the last one before pooling. signed: leave out the max. upsample: resize
    bilinearly to the size of x. local: weight each position by its own gradient instead of the mean, for scores of one
    position in the image. target: see `aim`. Raises PellucidError for a layer that has no maps or runs twice.
    Source: Selvaraju et al. 2017, equations 1 and 2; local: Draelos and Carin 2020 (HiResCAM).
    """
    layer_maps = maps_of_layer(net, params, x, target, layer)
    weighted = (layer_maps.da * layer_maps.a).sum(1, keepdim=True) if local else weighted_maps(layer_maps)
    map_ = weighted if signed else weighted.clamp_min(0)
    return resized_map(map_, x, upsample, net, layer_maps.path)


def weighted_maps(maps: LayerMaps) -> Tensor:
    """Return Σ_k w_k A_k, (N, 1, h, w)."""
    return (maps.da.mean(maps.positions, keepdim=True) * maps.a).sum(1, keepdim=True)


def gradcam_plus_plus(
    net: Layer, params: Params, x: Any, target: Target = None, layer: str | None = None, upsample: bool = True
) -> Tensor:
    """Return max(Σ_k w_k A_k, 0), (N, 1, H, W), with w_k = Σ_ij α_kij max(g_kij, 0), g = ∂ score / ∂ A.

    α = g² / (2 g² + g³ Σ_ab A_kab), and 0 where g is 0. It follows from the second and third derivatives of exp(score)
    in a piecewise linear network. The factor exp(score) of each image is left out. layer, upsample: see `gradcam`.
    target: see `aim`. Raises PellucidError for a layer that has no maps or runs twice.
    Source: Chattopadhyay et al. 2018, equations 5, 10 and 19.
    """
    layer_maps = maps_of_layer(net, params, x, target, layer)
    a = layer_maps.a
    da = layer_maps.da
    denominator = 2 * da**2 + da**3 * a.sum(layer_maps.positions, keepdim=True)
    alpha = torch.where(denominator == 0, 0, da**2 / denominator)
    weights = (alpha * da.clamp_min(0)).sum(layer_maps.positions, keepdim=True)  # (N, C, 1, 1)
    return resized_map((weights * a).sum(1, keepdim=True).clamp_min(0), x, upsample, net, layer_maps.path)


def layercam(
    net: Layer, params: Params, x: Any, target: Target = None, layer: str | None = None, upsample: bool = True
) -> Tensor:
    """Return max(Σ_k max(g_k, 0) A_k, 0), (N, 1, H, W): each value of the maps A weighted by its own gradient g.

    Unlike the mean gradients of Grad-CAM, these weights keep their positions, so that maps of early layers, given by
    `layer`, are fine and still about the target. layer, upsample: see `gradcam`. target: see `aim`.
    Raises PellucidError for a layer that has no maps or runs twice. Source: Jiang et al. 2021, equations 5 to 7.
    """
    maps = maps_of_layer(net, params, x, target, layer)
    weighted = (maps.da.clamp_min(0) * maps.a).sum(1, keepdim=True)
    return resized_map(weighted.clamp_min(0), x, upsample, net, maps.path)


def guided_gradcam(net: Layer, params: Params, x: Any, target: Target = None, layer: str | None = None) -> Tensor:
    """Return guided backpropagation times Grad-CAM, in x's shape.

    layer: see `gradcam`. target: see `aim`. Raises PellucidError for a layer that has no maps or runs twice, and for
    networks with layers for which guided backpropagation has no rule.
    Source: Selvaraju et al. 2017, section 3.2.
    """
    rules = guided_backprop()(Entrance(x))
    check_has_rules(net, "guided_gradcam", rules)
    layer_maps = maps_of_layer(net, params, x, target, layer)
    upsampled = resized_map(weighted_maps(layer_maps).clamp_min(0), x, True, net, layer_maps.path)
    return mapped(
        lambda guided, map_: None if map_ is None else guided * map_, layer_maps.run.propagate_back(rules), upsampled
    )
