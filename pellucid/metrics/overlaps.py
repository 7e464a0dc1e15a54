"""Overlaps of detections with true objects, and areas: for boxes, masks and key-points, as COCO defines them."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.image_objects import Detections, Objects
from pellucid.ops.boxes import area, box_iou, coverage

# COCO's sigmas of the 17 key-points of a person, from nose to ankles (Ronchi and Perona 2017, section 3.1).
PERSON = (
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089,
    0.089,
)  # fmt: skip
MAX_EXACT_PIXELS = 1 << 24  # float32 represents counts up to this number exactly


def box_overlaps(found: Detections, truth: Objects) -> Tensor:
    """Return the IoU of every detection's box with every true box: (n, m) in float64.

    For a crowd, it is the fraction of the detection's box inside the crowd's box.
    """
    boxes, others = found.boxes.double(), truth.boxes.double()
    iou = box_iou(boxes, others)
    return iou if truth.crowd is None else torch.where(truth.crowd, coverage(boxes, others), iou)


def mask_overlaps(found: Detections, truth: Objects) -> Tensor:
    """Return the IoU of every detection's mask with every true mask: (n, m) in float64.

    For a crowd, it is the fraction of the detection's mask inside the crowd's mask. Raises PellucidError without masks,
    or if the masks of detections and objects differ in size.
    """
    if not len(found) or not len(truth):
        return torch.zeros(len(found), len(truth), dtype=torch.float64)
    masks, others = _masks(found, "detections"), _masks(truth, "objects")
    if masks.shape[1:] != others.shape[1:]:
        raise PellucidError(
            f"average precision: detected masks are {tuple(masks.shape[1:])} and true ones {tuple(others.shape[1:])}; "
            "give both in the size of the image"
        )
    dtype = torch.float32 if masks[0].numel() <= MAX_EXACT_PIXELS else torch.float64
    common = masks.flatten(1).to(dtype) @ others.flatten(1).to(dtype).T  # (n, m)
    areas = masks.sum((1, 2)).double()[:, None]
    union = areas + others.sum((1, 2)) - common.double()
    if truth.crowd is not None:
        union = torch.where(truth.crowd, areas, union)
    return (common / union).nan_to_num(0.0)  # 0 / 0 where both masks are empty


def keypoint_similarity(found: Detections, truth: Objects, areas: Tensor, sigmas: tuple[float, ...]) -> Tensor:
    """Return the object keypoint similarity of every detection with every true object: (n, m) in float64.

    It is the mean over the labelled points of exp(-d^2 / (2 area (2 sigma)^2)), where d is the distance in pixels. For
    a truth without labelled points, d is the distance to its box, enlarged by its size on every side. areas: (m,).
    Raises PellucidError without key-points, or if their number differs from the number of `sigmas`. Source: Lin et al.
    2014, and COCO's page on the evaluation of key-points.
    """
    if not len(found) or not len(truth):
        return torch.zeros(len(found), len(truth), dtype=torch.float64)
    points, others = _points(found, "detections", len(sigmas)), _points(truth, "objects", len(sigmas))
    low, high = truth.boxes.double().split(2, 1)  # (m, 2)
    size = high - low
    detected = points[:, None, :, :2]  # (n, 1, K, 2)
    outside = ((low - size)[:, None] - detected).clamp_min(0) + (detected - (high + size)[:, None]).clamp_min(0)
    labelled = others[:, :, 2] > 0  # (m, K)
    unlabelled = ~labelled.any(1)
    difference = torch.where(unlabelled[:, None, None], outside, detected - others[:, :, :2])  # (n, m, K, 2)
    scale = (2 * torch.tensor(sigmas, dtype=torch.float64)).square()
    exponent = difference.square().sum(3) / scale / (areas.double()[:, None] + torch.finfo(torch.float64).eps) / 2
    is_counted = (labelled | unlabelled[:, None]).double()
    return (exponent.neg().exp() * is_counted).sum(2) / is_counted.sum(1)


def truth_areas(truth: Objects) -> Tensor:
    """Return the areas of true objects in float64, (m,): of their masks, or of their boxes if there are no masks."""
    return area(truth.boxes.double()) if truth.masks is None else truth.masks.sum((1, 2)).double()


def _hull_areas(found: Detections) -> Tensor:
    """Return the areas of the boxes around the points, as for COCO's key-point results, which contain no boxes."""
    if not len(found):
        return torch.zeros(0, dtype=torch.float64)
    assert found.keypoints is not None  # checked when the overlaps were computed
    detected = found.keypoints[:, :, :2].double()
    return (detected.amax(1) - detected.amin(1)).prod(1)


def _masks(part: Detections | Objects, whose: str) -> Tensor:
    if part.masks is None:
        raise PellucidError(f"average precision of masks: the {whose} of an image have no masks; give them")
    return part.masks


def _points(part: Detections | Objects, whose: str, count: int) -> Tensor:
    if part.keypoints is None:
        raise PellucidError(f"average precision of key-points: the {whose} of an image have none; give them")
    if part.keypoints.shape[1] != count:
        raise PellucidError(
            f"average precision of key-points: the {whose} have {part.keypoints.shape[1]} points and there are {count} "
            "sigmas; give one sigma per point"
        )
    return part.keypoints.double()


class OverlapKind(NamedTuple):
    """Functions of one kind: overlaps(detections, objects, areas of the objects, sigmas), and areas(detections)."""

    overlaps: Callable[[Detections, Objects, Tensor, tuple[float, ...]], Tensor]
    areas: Callable[[Detections], Tensor]


KINDS = {
    "boxes": OverlapKind(lambda found, truth, *_: box_overlaps(found, truth), lambda found: area(found.boxes.double())),
    "masks": OverlapKind(
        lambda found, truth, *_: mask_overlaps(found, truth),
        lambda found: _masks(found, "detections").sum((1, 2)).double() if len(found) else found.scores.double(),
    ),
    "keypoints": OverlapKind(keypoint_similarity, _hull_areas),
}
