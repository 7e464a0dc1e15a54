"""The feature maps that class activation mapping uses: a layer's output, and the gradient with respect to it."""

from typing import Any, NamedTuple

from torch import Tensor
from torch.nn import functional as F

from pellucid.combine.base import Combinator, walk
from pellucid.errors import PellucidError, nearest
from pellucid.explain.sweeps import ForwardPass, forward_to
from pellucid.explain.target import Target
from pellucid.layers import AdaptiveAvgPool2d, AvgPool2d, LpPool2d, MaxPool2d
from pellucid.layers.base import Cache, Layer, Params

POOLS = (MaxPool2d, AvgPool2d, AdaptiveAvgPool2d, LpPool2d)


class Maps(NamedTuple):
    """A layer's output, (N, C, H, W), the gradient of the target's score with respect to it, and the pass it is of."""

    a: Tensor
    da: Tensor
    run: ForwardPass


class _Arrived(Exception):  # noqa: N818 - no error: earlier layers are not needed
    """Raised to end the backward pass at the layer."""

    def __init__(self, dy: Tensor) -> None:
        super().__init__()
        self.dy = dy


def maps(net: Layer, params: Params, x: Any, target: Target, layer: str | None) -> Maps:
    """Return the maps of the layer at path `layer`; None for the last one with maps that is no pooling.

    Raises PellucidError for a path without maps, one that the target does not depend on, and one that runs twice.
    """
    outputs: dict[str, list[Any]] = {}
    if layer is not None and layer not in (paths := [path for path, _ in walk(net)]):
        raise PellucidError(f"no layer {layer!r}{nearest(layer, paths)}")

    def watch(path: str, one: Layer, x: Any, y: Any, cache: Cache) -> None:
        if path == layer or (layer is None and _has_maps(one, y)):
            outputs.setdefault(path, []).append(y)

    run = forward_to(net, params, x, target, watch)
    if not outputs and layer is None:
        raise PellucidError("the network has no feature maps, which class activation mapping weighs; choose saliency")
    path = layer if layer is not None else list(outputs)[-1]
    found = outputs.get(path, [])
    if len(found) > 1:
        raise PellucidError(f"the layer {path!r} runs more than once, so that its maps are several; name another")
    if found and not (isinstance(found[0], Tensor) and found[0].dim() == 4):
        raise PellucidError(f"the layer {path!r} puts out no feature maps (N, C, H, W); name another")
    return Maps(found[0], _arriving(run, path), run) if found else _no_part(path)


def shown(mapped: Tensor, x: Any, upsample: bool) -> Tensor:
    """Return maps (N, 1, h, w), resized bilinearly to the images x if `upsample`."""
    if not upsample:
        return mapped
    image = x[0] if isinstance(x, tuple) else x
    return F.interpolate(mapped, image.shape[2:], mode="bilinear")


def _has_maps(layer: Layer, y: Any) -> bool:
    if isinstance(layer, (Combinator, *POOLS)) or not isinstance(y, Tensor):
        return False
    return y.dim() == 4 and y.shape[2] * y.shape[3] > 1


def _arriving(run: ForwardPass, path: str) -> Tensor:
    """Return the gradient with respect to the output of the layer at `path`; the backward pass ends there."""

    def watch(at: str, layer: Layer, dy: Any, dx: Any, dparams: Params) -> None:
        if at == path:
            raise _Arrived(dy)

    try:
        run.back(watch=watch, last=False)
    except _Arrived as arrived:
        return arrived.dy
    return _no_part(path)


def _no_part(path: str) -> Any:
    raise PellucidError(f"the layer {path!r} has no part in the target's score; name another")
