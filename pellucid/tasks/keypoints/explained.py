"""Attribution maps for the coordinate of one key-point."""

from typing import Any, Literal, get_args

from torch import Tensor

from pellucid.combine import Sequential
from pellucid.errors import PellucidError
from pellucid.explain import explain
from pellucid.layers import SoftArgmax
from pellucid.losses import HeatMaps
from pellucid.model import Model
from pellucid.tasks.keypoints.finder import KeypointFinder, fit

Axis = Literal["x", "y"]


def explain_point(
    model: Model, image: Tensor, point: int, axis: Axis = "x", method: str = "saliency", **options: Any
) -> Tensor:
    """Return an attribution map (h, w) over the network's input for a coordinate of one key-point.

    image: uint8 (3, H, W), converted to the network's input as by `KeypointFinder`. point: its index. axis: "x" or "y".
    The coordinate is an output of the network, or the expected position under a heat map, in units of the image's side.
    method, options: see pellucid.explain.explain; the attributions of the channels are summed, for saliency their
    maximum is returned. Raises PellucidError for a point that the model does not have.
    """
    finder = KeypointFinder(model)
    if not 0 <= point < len(finder.names):
        raise PellucidError(f"point {point}: the model has {len(finder.names)} points, counted from 0")
    if axis not in get_args(Axis):
        raise PellucidError(f"axis must be 'x' or 'y', not {axis!r}")
    net, params = model.net, model.params
    if isinstance(model.loss, HeatMaps):
        net, params = Sequential(maps=net, points=SoftArgmax()), {"maps": params, "points": {}}
    x, _ = fit(image, (model.nominal_shape[1], model.nominal_shape[2]))
    maps = explain(net, params, model.scaled(x[None]), method, 2 * point + (axis == "y"), **options)[0]  # (C, h, w)
    return (maps.amax(0) if method == "saliency" else maps.sum(0)).cpu()
