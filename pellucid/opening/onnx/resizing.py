"""Conversion of ONNX's Resize and Upsample: Upsample if it computes the same output, else Index or matrix products."""

from typing import Any

import numpy as np
import torch

from pellucid import layers
from pellucid.base.limits import MAX_ONNX_RESIZED_SIDE
from pellucid.opening.onnx.folding import run_reference
from pellucid.opening.onnx.reading import NodeReading
from pellucid.opening.onnx.values import Unreadable, Value, constant
from pellucid.opening.onnx_nodes.resizing import RESIZE_MODES
from pellucid.operators import Index, MatMul

UPSAMPLE_KINDS = {mode: kind for kind, mode in RESIZE_MODES.items()}
_OPSET = 19  # operator set of the Resize that the reference implementation computes

_ScalePair = tuple[float, float]


def resize(r: NodeReading) -> Value:
    """Read Resize of height and width; raises Unreadable if it resizes other axes."""
    options: dict[str, Any] = {"mode": r.attribute("mode", "nearest")}
    if r.opset < 11:
        old_options = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return _resize_image(r, options | old_options, None, _height_and_width(r.constant(1).tolist(), None))
    options |= {name: r.attribute(name, default) for name, default in (
        ("coordinate_transformation_mode", "half_pixel"), ("nearest_mode", "round_prefer_floor"), ("antialias", 0),
        ("exclude_outside", 0), ("cubic_coeff_a", -0.75))}  # fmt: skip
    r.attribute("extrapolation_value", 0.0)
    r.check_attributes(keep_aspect_ratio_policy="stretch")
    axes = r.attribute("axes", None)
    if r.has_input(3):
        first, second = r.sizes(3)
        if first[1 if axes is None else 0 :] != second[1 if axes is None else 0 :]:
            raise Unreadable("resizes other axes than height and width")
        n_examples = first[0] if first[0] in (r.context.batch, r.x.sizes[0][0]) else r.x.sizes[0][0]
        height, width = (int(size) for size in _height_and_width(first, axes, (n_examples, *r.shape)))
        return _resize_image(r, options, (height, width), None)
    return _resize_image(r, options, None, _height_and_width(r.constant(2).tolist(), axes))


def upsample(r: NodeReading) -> Value:
    """Read Upsample, which operator set 10 replaces with Resize."""
    scales = r.attribute("scales", None)
    options = {"mode": r.attribute("mode", "nearest"), "coordinate_transformation_mode": "asymmetric"}
    scale_pair = _height_and_width(scales if scales is not None else r.constant(1).tolist(), None)
    return _resize_image(r, options | {"nearest_mode": "floor"}, None, scale_pair)


def _height_and_width(values: list[Any], axes: list[int] | None, unchanged: tuple[int, ...] = (1, 1)) -> _ScalePair:
    """Return the values for height and width; raises Unreadable if another axis changes."""
    rank = 4
    values_by_axis = dict(zip(range(rank) if axes is None else [axis % rank for axis in axes], values, strict=False))
    if len(values_by_axis) != len(values) or not {2, 3} <= values_by_axis.keys():
        raise Unreadable("resizes other axes than height and width")
    if any(values_by_axis[axis] != unchanged[axis] for axis in (0, 1) if axis in values_by_axis):
        raise Unreadable("resizes other axes than height and width")
    return values_by_axis[2], values_by_axis[3]


def _resize_image(
    r: NodeReading, options: dict[str, Any], size: tuple[int, int] | None, scales: _ScalePair | None
) -> Value:
    """Return the image resized to `size`, or by `scales` if `size` is None."""
    if r.x.rank != 4:
        raise Unreadable("resizes inputs that are not images")
    input_size = r.shape[1:]
    if size is None:
        assert scales is not None
        if not all(0 < scale < np.inf and int(scale * old) > 0 for scale, old in zip(scales, input_size, strict=True)):
            raise Unreadable(f"has the scales {list(scales)}")
        size = int(scales[0] * input_size[0]), int(scales[1] * input_size[1])
    is_exact = scales is None or all(new == old * s for new, old, s in zip(size, input_size, scales, strict=True))
    layer = _upsample_layer(options, input_size, size) if is_exact else None
    if layer is not None:
        return r.layer(layer)
    if options["mode"] not in ("nearest", *UPSAMPLE_KINDS) or "crop" in options["coordinate_transformation_mode"]:
        raise Unreadable(f"resizes with mode={options['mode']!r}, {options['coordinate_transformation_mode']!r}")
    if max(*size, *input_size) > MAX_ONNX_RESIZED_SIDE:
        raise Unreadable(f"resizes images with more than {MAX_ONNX_RESIZED_SIDE} rows or columns in this way")
    axis_scales = [None, None] if scales is None else list(scales)
    rows, columns = (
        _resize_matrix(r, options, old, new, scale)
        for old, new, scale in zip(input_size, size, axis_scales, strict=True)
    )
    if options["mode"] == "nearest":
        resized_rows = r.inner("rows", Index(2), r.x, constant(rows.argmax(1)))
        return r.layer(Index(3), resized_rows, constant(columns.argmax(1)))
    resized = r.inner("rows", MatMul(), constant(rows), r.x)
    return r.layer(MatMul(), resized, constant(columns.t().contiguous()))


def _upsample_layer(
    options: dict[str, Any], input_size: tuple[int, ...], size: tuple[int, int]
) -> layers.Upsample | None:
    """Return the Upsample layer that computes the same output, or None if no such layer exists."""
    mode, coordinates = options["mode"], options["coordinate_transformation_mode"]
    if mode == "nearest":
        is_enlarged = all(new % old == 0 for new, old in zip(size, input_size, strict=True))
        is_integer_ratio = all(new % old == 0 or old % new == 0 for new, old in zip(size, input_size, strict=True))
        rounding = coordinates, options["nearest_mode"]
        if is_enlarged and rounding == ("asymmetric", "floor"):
            return layers.Upsample(size=size)
        is_exact = is_integer_ratio and rounding == ("half_pixel", "round_prefer_ceil")
        return layers.Upsample(size=size, kind="nearest-exact") if is_exact else None
    kernel = (options.get("antialias", 0), options.get("exclude_outside", 0), options.get("cubic_coeff_a", -0.75))
    if coordinates == "pytorch_half_pixel" and min(size) > 1:
        coordinates = "half_pixel"
    corners = coordinates == "align_corners"
    if mode not in UPSAMPLE_KINDS or kernel != (0, 0, -0.75) or coordinates not in ("half_pixel", "align_corners"):
        return None
    return layers.Upsample(size=size, kind=UPSAMPLE_KINDS[mode], align_corners=corners)


def _resize_matrix(r: NodeReading, options: dict[str, Any], old: int, new: int, scale: float | None) -> torch.Tensor:
    """Return the matrix (new, old) that resizes one axis: the reference implementation's outputs for unit vectors."""
    helper = r.context.onnx.helper
    names = ["x", "", "scales"] if scale is not None else ["x", "", "", "sizes"]
    node = helper.make_node("Resize", names, ["y"], axes=[1], **options)
    sizes = {"sizes": np.array([new], np.int64)} if scale is None else {"scales": np.array([scale], np.float32)}
    unit_vectors = np.eye(old, dtype=np.float32)[:, None]
    columns = [run_reference(r.context.onnx, node, {"x": row, **sizes}, _OPSET)[0][0] for row in unit_vectors]
    return torch.from_numpy(np.stack(columns, 1).astype(np.float32))


READERS = {"Resize": resize, "Upsample": upsample}
