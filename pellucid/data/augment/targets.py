"""Geometric transformations of the objects in images."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.data.augment.move import Move
from pellucid.data.augment.resample import Resampling
from pellucid.data.augment.windows import Flip, Mosaic, Transposition, pixels_inside
from pellucid.ops.image_objects import Objects, concatenate

Pairs = tuple[tuple[int, int], ...]
_ROUNDING = 1e-4  # tolerance of `min_area`: rounding may leave 0.99999 of a rotated box's area inside the image
_RemainingObjects = tuple[Objects, Tensor]  # objects and the fraction (n,) of each area that is inside the image


def move_objects(
    objects: Sequence[Objects], moves: Sequence[Move | Mosaic], size: tuple[int, int], swaps: Pairs, min_area: float
) -> list[Objects]:
    """Return the objects of a batch's images, one entry per image, after `moves`.

    A box becomes the bounding box of its transformed corners (with a displacement field: of points a pixel apart on its
    sides), or of its transformed mask if it has one, clipped to the image. An object is dropped if nothing, or less
    than the fraction `min_area` of the area of its unclipped box, is inside the image. Key-points outside it become
    (0, 0, 0); mirroring exchanges the key-points of each pair in `swaps`. size: (H, W) of the images before `moves`.
    Raises PellucidError for masks of another size, and for swaps of key-points that do not exist.
    """
    for index, image_objects in enumerate(objects):
        if image_objects.masks is not None and image_objects.masks.shape[1:] != size:
            raise PellucidError(
                f"augment: image {index} is {size[0]}x{size[1]}, but the masks of its objects are "
                f"{image_objects.masks.shape[1]}x{image_objects.masks.shape[2]}; give masks of the size of their image"
            )
        if image_objects.keypoints is not None:
            _check_swaps(swaps, image_objects.keypoints.shape[1], f"the objects of image {index}")
    objects_of_images: list[_RemainingObjects] = [
        (image_objects, torch.ones(len(image_objects), device=image_objects.boxes.device)) for image_objects in objects
    ]
    for move in moves:
        if isinstance(move, Mosaic):
            objects_of_images = [
                _mosaic_objects(objects_of_images, move, index) for index in range(len(objects_of_images))
            ]
        else:
            objects_of_images = [
                _transform_objects(objects_of_image, move.of(index), swaps)
                for index, objects_of_image in enumerate(objects_of_images)
            ]
    return [
        image_objects.take((inside_fractions > 0) & (inside_fractions >= min_area - _ROUNDING))
        for image_objects, inside_fractions in objects_of_images
    ]


def move_points(points: Tensor, moves: Sequence[Move], swaps: Pairs) -> Tensor:
    """Return the key-points (N, K, 3) of N images with one object each, after `moves`; see `move_objects`."""
    _check_swaps(swaps, points.shape[1], "the images")
    for move in moves:
        height, width = move.size
        positions = move.points(points[..., :2])
        points = _place_keypoints(points, positions, points.new_zeros(2), points.new_tensor([width, height]))
        if isinstance(move, Flip):
            points = torch.where(move.is_applied[:, 0], points[:, _mirrored_order(points.shape[1], swaps)], points)
        elif isinstance(move, Transposition) and move.is_applied:
            points = points[:, _mirrored_order(points.shape[1], swaps)]
    return points


def _check_swaps(swaps: Pairs, n_keypoints: int, name: str) -> None:
    if any(index >= n_keypoints for pair in swaps for index in pair):
        raise PellucidError(
            f"augment.swaps is {swaps}, but {name} have {n_keypoints} key-points, counted from 0; give pairs of their "
            "indices"
        )


def _mirrored_order(n_keypoints: int, swaps: Pairs) -> list[int]:
    """Return the indices that reorder `n_keypoints` key-points for a mirror image."""
    order = list(range(n_keypoints))
    for first, second in swaps:
        order[first], order[second] = second, first
    return order


def _mosaic_objects(objects_of_images: list[_RemainingObjects], mosaic: Mosaic, index: int) -> _RemainingObjects:
    """Return the objects of mosaic `index`, quarter by quarter."""
    objects_of_quarters: list[_RemainingObjects] = []
    for window, source_index, region in zip(
        mosaic.windows, mosaic.sources[index].tolist(), mosaic.regions[index], strict=True
    ):
        objects, inside_fractions = _transform_objects(objects_of_images[source_index], window.of(index), (), region)
        objects_of_quarters.append((objects.take(inside_fractions > 0), inside_fractions[inside_fractions > 0]))
    return concatenate([objects for objects, _ in objects_of_quarters]), torch.cat(
        [inside_fractions for _, inside_fractions in objects_of_quarters]
    )


def _transform_objects(
    objects_of_image: _RemainingObjects, move: Move, swaps: Pairs, region: Tensor | None = None
) -> _RemainingObjects:
    """Return one image's transformed objects, clipped to a region (4,) or to the image, and their fractions inside."""
    (objects, inside_fractions), size = objects_of_image, move.size
    bounds = torch.tensor([0, 0, size[1], size[0]]) if region is None else region
    low, high = bounds.to(objects.boxes).split(2)
    is_elastic = isinstance(move, Resampling) and move.displacement is not None
    outline = _outline_points(objects.boxes, is_elastic)  # (n, k, 2)
    positions = move.points(outline.flatten(0, 1)[None]).view_as(outline)
    box_start, box_end = positions.amin(1), positions.amax(1)  # (n, 2) each
    area = (box_end - box_start).prod(1)
    box_start, box_end = box_start.clamp(low, high), box_end.clamp(low, high)
    inside_fractions = torch.where(area > 0, inside_fractions * (box_end - box_start).prod(1) / area, 0.0)
    masks, points = objects.masks, objects.keypoints
    boxes = torch.cat((box_start, box_end), 1)
    if masks is not None:
        masks = move.apply(masks[None], "constant", False)[0]
        masks = masks if region is None else masks & pixels_inside(region[None], size)
        boxes = tight_boxes(masks)
        inside_fractions = torch.where(boxes[:, 2] > boxes[:, 0], inside_fractions, 0.0)
    if points is not None:
        positions_of_points = move.points(points[None, ..., :2].flatten(1, 2)).view_as(points[..., :2])
        points = _place_keypoints(points, positions_of_points, low, high)
        if isinstance(move, Flip | Transposition) and bool(move.is_applied):
            points = points[:, _mirrored_order(points.shape[1], swaps)]
    return Objects(boxes, objects.labels, masks, points, objects.crowd), inside_fractions


def _place_keypoints(points: Tensor, positions: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return key-points (n, K, 3) at their new positions; (0, 0, 0) for points outside or not labelled."""
    is_visible = (points[..., 2] > 0) & ((positions >= low) & (positions <= high)).all(2)
    return torch.where(is_visible[..., None], torch.cat((positions, points[..., 2:]), 2), 0.0)


def _outline_points(boxes: Tensor, has_sides: bool) -> Tensor:
    """Return the corners (n, 4, 2) of boxes or, with `has_sides`, points on all sides, a pixel apart or closer."""
    n_steps = int((boxes[:, 2:] - boxes[:, :2]).max()) + 1 if has_sides and len(boxes) else 1
    x0, y0, x1, y1 = boxes[:, :, None].unbind(1)  # (n, 1) each
    fractions = torch.arange(n_steps, dtype=boxes.dtype, device=boxes.device) / n_steps
    width, height = (x1 - x0) * fractions, (y1 - y0) * fractions  # (n, n_steps)
    x = torch.cat((x0 + width, x1.expand_as(width), x1 - width, x0.expand_as(width)), 1)
    y = torch.cat((y0.expand_as(height), y0 + height, y1.expand_as(height), y1 - height), 1)
    return torch.stack((x, y), 2)


def tight_boxes(masks: Tensor) -> Tensor:
    """Return the bounding boxes (n, 4) float32 of masks (n, H, W) bool; (0, 0, 0, 0) for a mask without pixels."""
    is_column_occupied, is_row_occupied = masks.any(1), masks.any(2)  # (n, W), (n, H)
    bounds: list[Tensor] = []
    for is_occupied in (is_column_occupied, is_row_occupied):
        indices = torch.arange(is_occupied.shape[1], device=masks.device)
        bounds.append(torch.where(is_occupied, indices, is_occupied.shape[1]).amin(1))
        bounds.append(torch.where(is_occupied, indices + 1, 0).amax(1))
    x0, x1, y0, y1 = bounds
    return torch.where(is_row_occupied.any(1)[:, None], torch.stack((x0, y0, x1, y1), 1), 0).float()
