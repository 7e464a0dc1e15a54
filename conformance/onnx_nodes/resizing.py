"""Nodes of ONNX's Resize and Upsample."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from conformance.case import SkipCase
from conformance.onnx_nodes.antialiasing import resize_edge_padded
from conformance.onnx_nodes.operator import Operator, Outputs, forward, image_view
from pellucid.layers import Upsample

UPSAMPLE_KINDS = {"linear": "bilinear", "cubic": "bicubic"}
HALF_PIXEL = ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric")


@dataclass(frozen=True)
class ResizeGeometry:
    """The sizes (height, width) `before` and `after` resizing, and the scales that map output to input pixels."""

    before: tuple[int, int]
    after: tuple[int, int]
    scales: tuple[float, float]

    @property
    def is_exact(self) -> bool:
        """Whether scale times size is the new size without rounding, along both axes."""
        return all(scale * old == new for old, new, scale in zip(self.before, self.after, self.scales, strict=True))

    def layer(self, kind: str, align_corners: bool = False, antialias: bool = False) -> Upsample:
        """Return the layer for this geometry: by size if it is exact, else by scales."""
        scale, size = (None, self.after) if self.is_exact else (self.scales, None)
        return Upsample(scale, size, kind, align_corners, antialias)


def resize(
    x: Tensor,
    roi: Tensor | None = None,
    scales: Tensor | None = None,
    sizes: Tensor | None = None,
    *,
    antialias: int = 0,
    axes: Sequence[int] | None = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Outputs:
    """Return the outputs of a Resize node, computed by Upsample; raise SkipCase for options that we do not have.

    `roi` and `extrapolation_value` are used by tf_crop_and_resize only, which we do not have.
    """
    view = image_view(x)
    geometry = _geometry(x, scales, sizes, axes, keep_aspect_ratio_policy)
    if mode == "nearest":
        if antialias or exclude_outside:
            raise SkipCase("antialias=1 or exclude_outside=1 with mode nearest")
        return (view.drop(_resize_nearest(view.lift(x), geometry, coordinate_transformation_mode, nearest_mode)),)
    align = coordinate_transformation_mode == "align_corners"
    if not align and coordinate_transformation_mode not in HALF_PIXEL:
        raise SkipCase(f"coordinate_transformation_mode {coordinate_transformation_mode}")
    if not geometry.is_exact and (align or coordinate_transformation_mode == "half_pixel_symmetric"):
        raise SkipCase(f"coordinate_transformation_mode {coordinate_transformation_mode} from a rounded size")
    if coordinate_transformation_mode == "pytorch_half_pixel" and 1 in geometry.after:
        raise SkipCase("coordinate_transformation_mode pytorch_half_pixel to one row")
    if antialias or exclude_outside:
        _check_kernel(geometry, align, mode, bool(antialias), cubic_coeff_a)
        if exclude_outside:
            return (view.drop(forward(geometry.layer(UPSAMPLE_KINDS[mode], antialias=True), view.lift(x))[0]),)
        return (view.drop(resize_edge_padded(view.lift(x), geometry.after, geometry.scales, UPSAMPLE_KINDS[mode])),)
    if mode == "cubic" and cubic_coeff_a != -0.75:
        raise SkipCase(f"attribute cubic_coeff_a={cubic_coeff_a:g}")
    return (view.drop(forward(geometry.layer(UPSAMPLE_KINDS[mode], align), view.lift(x))[0]),)


def upsample(x: Tensor, scales: Tensor, *, mode: str = "nearest") -> Outputs:
    """Return the outputs of an Upsample node (an older operator than Resize), computed by Upsample."""
    if mode != "nearest":
        raise SkipCase("coordinate_transformation_mode asymmetric")
    return resize(x, None, scales, coordinate_transformation_mode="asymmetric", nearest_mode="floor")


def _check_kernel(geometry: ResizeGeometry, align: bool, mode: str, antialias: bool, cubic_coeff_a: float) -> None:
    """Raise SkipCase unless the kernel of Upsample with antialias is that of the node.

    The kernel is wider for a smaller output. For a larger output it is the kernel of exclude_outside=1.
    """
    option = "antialias=1" if antialias else "exclude_outside=1"
    if align:
        raise SkipCase(f"{option} with align_corners")
    if mode == "cubic" and cubic_coeff_a != -0.5:
        raise SkipCase(f"{option} with cubic_coeff_a={cubic_coeff_a:g}")
    if not antialias and min(geometry.scales) < 1:
        raise SkipCase("exclude_outside=1 without antialias to a smaller image")


def _resize_nearest(image: Tensor, geometry: ResizeGeometry, coordinates: str, rounding: str) -> Tensor:
    """Return the image resized to nearest pixels; raise SkipCase for a rounding that we do not have.

    "nearest-exact" reads pixel floor((i + 1/2) / s), which rounds (i + 1/2) / s - 1/2 with halves up.
    round_prefer_floor rounds halves down, which is the same for the flipped image: it is flipped before and after.
    """
    if coordinates == "asymmetric" and rounding == "floor":
        return forward(geometry.layer("nearest"), image)[0]
    if coordinates not in HALF_PIXEL:
        raise SkipCase(f"coordinate_transformation_mode {coordinates} with nearest_mode {rounding}")
    if rounding == "round_prefer_ceil":
        return forward(geometry.layer("nearest-exact"), image)[0]
    if rounding != "round_prefer_floor":
        raise SkipCase(f"nearest_mode {rounding}")
    if geometry.is_exact:
        return forward(geometry.layer("nearest-exact"), image.flip(2, 3))[0].flip(2, 3)
    pairs = zip(geometry.after, geometry.scales, strict=True)
    if any(((i + 0.5) / scale).is_integer() for length, scale in pairs for i in range(length)):
        raise SkipCase("nearest_mode round_prefer_floor at a tie, from a rounded size")
    return forward(geometry.layer("nearest-exact"), image)[0]


def _geometry(
    x: Tensor, scales: Tensor | None, sizes: Tensor | None, axes: Sequence[int] | None, policy: str
) -> ResizeGeometry:
    """Return the geometry (height, width) for the attributes of a node; (N, C, L) are images of one row.

    Raises SkipCase if the number of images or channels changes.
    """
    node_axes = [axis % x.dim() for axis in (range(x.dim()) if axes is None else axes)]
    factors, after = [1.0] * x.dim(), list(x.shape)
    if scales is not None and scales.numel():  # empty in old models that have sizes
        for axis, factor in zip(node_axes, scales.tolist(), strict=True):
            factors[axis], after[axis] = factor, math.floor(x.shape[axis] * factor)
    elif sizes is not None:
        size_by_axis = dict(zip(node_axes, sizes.tolist(), strict=True))
        ratios = {axis: size / x.shape[axis] for axis, size in size_by_axis.items()}
        for axis, size in size_by_axis.items():
            factors[axis], after[axis] = ratios[axis], size
            if policy != "stretch":
                factors[axis] = (min if policy == "not_larger" else max)(ratios.values())
                after[axis] = math.floor(factors[axis] * x.shape[axis] + 0.5)
    if after[:2] != list(x.shape[:2]):
        raise SkipCase("another number of images or channels")
    unit_rows = () if x.dim() == 4 else (1,)
    high, wide = (*unit_rows, *x.shape[2:])
    tall, broad = (*unit_rows, *after[2:])
    vertical, horizontal = (*map(float, unit_rows), *factors[2:])
    return ResizeGeometry((high, wide), (tall, broad), (vertical, horizontal))


OPERATORS = {"Resize": Operator(Upsample, resize, since=11), "Upsample": Operator(Upsample, upsample, since=9)}
