"""Overlaps of detections with true objects, and their areas, as COCO defines them for boxes, masks and key-points."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.ops.boxes import area, box_iou, coverage
from pellucid.ops.image_objects import Detections, Objects

# COCO's sigmas of the 17 key-points of a person, from nose to ankles (Ronchi and Perona 2017, section 3.1).
PERSON_SIGMAS = (
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089,
    0.089,
)  # fmt: skip
PERSON_POINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
OTHER_SIGMA = 0.05  # of the key-points of other objects, for which COCO has none; near the smaller ones of a person
MAX_EXACT_PIXELS = 1 << 24  # float32 represents counts up to this number exactly


def box_overlaps(detections: Detections, truth: Objects) -> Tensor:
    """Return the IoU of every detection's box with every true box: (n, m) in float64.

    For a crowd, the value is the fraction of the detection's box that is inside the crowd's box.
    """
    detected_boxes, true_boxes = detections.boxes.double(), truth.boxes.double()
    iou = box_iou(detected_boxes, true_boxes)
    return iou if truth.crowd is None else torch.where(truth.crowd, coverage(detected_boxes, true_boxes), iou)


def mask_overlaps(detections: Detections, truth: Objects) -> Tensor:
    """Return the IoU of every detection's mask with every true mask: (n, m) in float64.

    For a crowd, the value is the fraction of the detection's mask that is inside the crowd's mask. Raises PellucidError
    without masks, or if the masks of detections and objects differ in size.
    """
    if not len(detections) or not len(truth):
        return torch.zeros(len(detections), len(truth), dtype=torch.float64)
    detected_masks, true_masks = _required_masks(detections, "detections"), _required_masks(truth, "objects")
    if detected_masks.shape[1:] != true_masks.shape[1:]:
        raise PellucidError(
            f"average precision: detected masks are {tuple(detected_masks.shape[1:])} and true ones "
            f"{tuple(true_masks.shape[1:])}; give both in the size of the image"
        )
    dtype = torch.float32 if detected_masks[0].numel() <= MAX_EXACT_PIXELS else torch.float64
    common = detected_masks.flatten(1).to(dtype) @ true_masks.flatten(1).to(dtype).T  # (n, m)
    areas = detected_masks.sum((1, 2)).double()[:, None]
    union = areas + true_masks.sum((1, 2)) - common.double()
    if truth.crowd is not None:
        union = torch.where(truth.crowd, areas, union)
    return (common / union).nan_to_num(0.0)  # 0 / 0 where both masks are empty


def keypoint_similarity(detections: Detections, truth: Objects, areas: Tensor, sigmas: tuple[float, ...]) -> Tensor:
    """Return the object keypoint similarity of every detection with every true object: (n, m) in float64.

    It is the mean over the labelled points of exp(-d^2 / (2 area (2 sigma)^2)), where d is the distance in pixels. For
    an object without labelled points, d is the distance to the object's box, enlarged by its size on every side. areas:
    the areas of the objects, (m,). Raises PellucidError without key-points, or if their number differs from the number
    of `sigmas`. Source: Lin et al. 2014, and COCO's page on the evaluation of key-points.
    """
    if not len(detections) or not len(truth):
        return torch.zeros(len(detections), len(truth), dtype=torch.float64)
    detected_points = _required_points(detections, "detections", len(sigmas))[:, None, :, :2]  # (n, 1, K, 2)
    true_points = _required_points(truth, "objects", len(sigmas))
    low, high = truth.boxes.double().split(2, 1)  # (m, 2)
    size = high - low
    beyond_low = ((low - size)[:, None] - detected_points).clamp_min(0)
    beyond_high = (detected_points - (high + size)[:, None]).clamp_min(0)
    labelled = true_points[:, :, 2] > 0  # (m, K)
    unlabelled = ~labelled.any(1)
    distance_to_box, difference = beyond_low + beyond_high, detected_points - true_points[:, :, :2]
    difference = torch.where(unlabelled[:, None, None], distance_to_box, difference)  # (n, m, K, 2)
    scale = (2 * torch.tensor(sigmas, dtype=torch.float64)).square()
    exponent = difference.square().sum(3) / scale / (areas.double()[:, None] + torch.finfo(torch.float64).eps) / 2
    is_counted = (labelled | unlabelled[:, None]).double()
    return (exponent.neg().exp() * is_counted).sum(2) / is_counted.sum(1)


def sigmas_of(names: Sequence[str], kind: str) -> tuple[float, ...]:
    """Return the constant of each key-point: COCO's for the 17 of a person, otherwise OTHER_SIGMA.

    kind: the class of the objects. The 17 points of a person are known by their names, or by their number and `kind`.
    """
    is_person = tuple(names) == PERSON_POINTS or (kind == "person" and len(names) == len(PERSON_POINTS))
    return PERSON_SIGMAS if is_person else (OTHER_SIGMA,) * len(names)


def truth_areas(truth: Objects) -> Tensor:
    """Return the areas of the masks of true objects, or of their boxes if they have no masks, (m,) in float64."""
    return area(truth.boxes.double()) if truth.masks is None else truth.masks.sum((1, 2)).double()


def _hull_areas(detections: Detections) -> Tensor:
    """Return the areas of the boxes around the key-points, (n,), since COCO's key-point results contain no boxes."""
    if not len(detections):
        return torch.zeros(0, dtype=torch.float64)
    assert detections.keypoints is not None  # checked when the overlaps were computed
    points = detections.keypoints[:, :, :2].double()
    return (points.amax(1) - points.amin(1)).prod(1)


def _required_masks(instances: Detections | Objects, role: str) -> Tensor:
    if instances.masks is None:
        raise PellucidError(f"average precision of masks: the {role} of an image have no masks; give them")
    return instances.masks


def _required_points(instances: Detections | Objects, role: str, count: int) -> Tensor:
    if instances.keypoints is None:
        raise PellucidError(f"average precision of key-points: the {role} of an image have none; give them")
    if instances.keypoints.shape[1] != count:
        raise PellucidError(
            f"average precision of key-points: the {role} have {instances.keypoints.shape[1]} points and there are "
            f"{count} sigmas; give one sigma per point"
        )
    return instances.keypoints.double()


class OverlapKind(NamedTuple):
    """The functions for one kind of detection."""

    # (detections, objects, areas of the objects, sigmas) -> overlaps, (n, m)
    overlaps: Callable[[Detections, Objects, Tensor, tuple[float, ...]], Tensor]
    areas: Callable[[Detections], Tensor]  # detections -> areas, (n,)


OVERLAP_KINDS = {
    "boxes": OverlapKind(
        lambda detections, truth, *_: box_overlaps(detections, truth),
        lambda detections: area(detections.boxes.double()),
    ),
    "masks": OverlapKind(
        lambda detections, truth, *_: mask_overlaps(detections, truth),
        lambda detections: (
            _required_masks(detections, "detections").sum((1, 2)).double()
            if len(detections)
            else detections.scores.double()
        ),
    ),
    "keypoints": OverlapKind(keypoint_similarity, _hull_areas),
}
