"""Resize and Upsample of images: as Upsample where it computes the same, else by constant positions or matrices."""

from typing import Any

import numpy as np
import torch

from pellucid import layers
from pellucid.onnx_nodes.resizing import RESIZE_MODES
from pellucid.opening.onnx.folding import reference
from pellucid.opening.onnx.reading import NodeReading
from pellucid.opening.onnx.values import Unreadable, Value, constant
from pellucid.operators import Index, MatMul

KINDS = {mode: kind for kind, mode in RESIZE_MODES.items()}
MAX_SIDE = 1 << 12  # of images that are resized by matrices
_OPSET = 19  # of the reference implementation's Resize

_Factors = tuple[float, float]


def resize(r: NodeReading) -> Value:
    """Read Resize."""
    options: dict[str, Any] = {"mode": r.take("mode", "nearest")}
    if r.opset < 11:
        old = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return _resized(r, options | old, None, _two(r.constant(1).tolist(), None))
    options |= {name: r.take(name, default) for name, default in (
        ("coordinate_transformation_mode", "half_pixel"), ("nearest_mode", "round_prefer_floor"), ("antialias", 0),
        ("exclude_outside", 0), ("cubic_coeff_a", -0.75))}  # fmt: skip
    r.take("extrapolation_value", 0.0)
    r.only(keep_aspect_ratio_policy="stretch")
    axes = r.take("axes", None)
    if r.has_input(3):
        one, other = r.sizes(3)
        if one[1 if axes is None else 0 :] != other[1 if axes is None else 0 :]:
            raise Unreadable("resizes other axes than height and width")
        count = one[0] if one[0] in (r.around.batch, r.x.sizes[0][0]) else r.x.sizes[0][0]
        height, width = (int(size) for size in _two(one, axes, (count, *r.shape)))
        return _resized(r, options, (height, width), None)
    return _resized(r, options, None, _two(r.constant(2).tolist(), axes))


def upsample(r: NodeReading) -> Value:
    """Read Upsample, which operator set 10 replaces by Resize."""
    scales = r.take("scales", None)
    options = {"mode": r.take("mode", "nearest"), "coordinate_transformation_mode": "asymmetric"}
    given = _two(scales if scales is not None else r.constant(1).tolist(), None)
    return _resized(r, options | {"nearest_mode": "floor"}, None, given)


def _two(values: list[Any], axes: list[int] | None, unchanged: tuple[int, ...] = (1, 1)) -> _Factors:
    """Return the values for height and width; raises Unreadable if another axis changes."""
    rank = 4
    given = dict(zip(range(rank) if axes is None else [axis % rank for axis in axes], values, strict=False))
    if len(given) != len(values) or not {2, 3} <= given.keys():
        raise Unreadable("resizes other axes than height and width")
    if any(given[axis] != unchanged[axis] for axis in (0, 1) if axis in given):
        raise Unreadable("resizes other axes than height and width")
    return given[2], given[3]


def _resized(r: NodeReading, options: dict[str, Any], size: tuple[int, int] | None, scales: _Factors | None) -> Value:
    """Return the image in another size, or times the scales."""
    if r.x.rank != 4:
        raise Unreadable("resizes inputs that are not images")
    before = r.shape[1:]
    if size is None:
        assert scales is not None
        if not all(0 < scale < np.inf and int(scale * old) > 0 for scale, old in zip(scales, before, strict=True)):
            raise Unreadable(f"has the scales {list(scales)}")
        size = int(scales[0] * before[0]), int(scales[1] * before[1])
    exact = scales is None or all(new == old * s for new, old, s in zip(size, before, scales, strict=True))
    layer = _layer(options, before, size) if exact else None
    if layer is not None:
        return r.layer(layer)
    if options["mode"] not in ("nearest", *KINDS) or "crop" in options["coordinate_transformation_mode"]:
        raise Unreadable(f"resizes with mode={options['mode']!r}, {options['coordinate_transformation_mode']!r}")
    if max(*size, *before) > MAX_SIDE:
        raise Unreadable(f"resizes images with more than {MAX_SIDE} rows or columns in this way")
    given = [None, None] if scales is None else list(scales)
    rows, columns = (_weights(r, options, old, new, scale) for old, new, scale in zip(before, size, given, strict=True))
    if options["mode"] == "nearest":
        picked = r.inner("rows", Index(2), r.x, constant(rows.argmax(1)))
        return r.layer(Index(3), picked, constant(columns.argmax(1)))
    tall = r.inner("rows", MatMul(), constant(rows), r.x)
    return r.layer(MatMul(), tall, constant(columns.t().contiguous()))


def _layer(options: dict[str, Any], before: tuple[int, ...], size: tuple[int, int]) -> layers.Upsample | None:
    """Return the layer that computes the same; None if there is none."""
    mode, coordinates = options["mode"], options["coordinate_transformation_mode"]
    if mode == "nearest":
        larger = all(new % old == 0 for new, old in zip(size, before, strict=True))
        whole = all(new % old == 0 or old % new == 0 for new, old in zip(size, before, strict=True))
        rounding = coordinates, options["nearest_mode"]
        if larger and rounding == ("asymmetric", "floor"):
            return layers.Upsample(size=size)
        exact = whole and rounding == ("half_pixel", "round_prefer_ceil")
        return layers.Upsample(size=size, kind="nearest-exact") if exact else None
    kernel = (options.get("antialias", 0), options.get("exclude_outside", 0), options.get("cubic_coeff_a", -0.75))
    if coordinates == "pytorch_half_pixel" and min(size) > 1:
        coordinates = "half_pixel"
    corners = coordinates == "align_corners"
    if mode not in KINDS or kernel != (0, 0, -0.75) or coordinates not in ("half_pixel", "align_corners"):
        return None
    return layers.Upsample(size=size, kind=KINDS[mode], align_corners=corners)


def _weights(r: NodeReading, options: dict[str, Any], old: int, new: int, scale: float | None) -> torch.Tensor:
    """Return the weights (new, old) of rows, or of columns: the reference implementation's resizing of unit vectors."""
    helper = r.around.onnx.helper
    names = ["x", "", "scales"] if scale is not None else ["x", "", "", "sizes"]
    node = helper.make_node("Resize", names, ["y"], axes=[1], **options)
    sizes = {"sizes": np.array([new], np.int64)} if scale is None else {"scales": np.array([scale], np.float32)}
    unit = np.eye(old, dtype=np.float32)[:, None]
    found = [reference(r.around.onnx, node, {"x": row, **sizes}, _OPSET)[0][0] for row in unit]
    return torch.from_numpy(np.stack(found, 1).astype(np.float32))


READERS = {"Resize": resize, "Upsample": upsample}
