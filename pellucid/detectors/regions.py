"""Proposals of a detector's first stage, and the regions that the second stage is trained on, with their losses."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.losses import Huber, SoftmaxCrossEntropy
from pellucid.ops.assign import assign_by_iou, sample
from pellucid.ops.boxes import area, clip
from pellucid.ops.coding import decode, encode
from pellucid.ops.image_objects import Objects
from pellucid.ops.nms import nms

DEVIATIONS = (0.1, 0.1, 0.2, 0.2)  # standard deviations of the predicted offsets (Girshick 2015, reference code)
MIN_POSITIVE_IOU = 0.5  # lowest IoU of a region with the object that it is assigned to
MAX_BOXES = 1000  # boxes per image that enter non-maximum suppression
MAX_IOU = 0.7  # of two proposals; above it, suppression removes the one with the lower score


def propose(boxes: Tensor, scores: Tensor, size: tuple[int, int], count: int) -> tuple[Tensor, Tensor]:
    """Return at most `count` proposals (m, 4) of an image of `size` (H, W), and the indices (m,) of their anchors.

    boxes: (A, 4), scores: (A,). The boxes with the highest scores are clipped to the image. Boxes without an area, and
    boxes that overlap a box with a higher score, are removed. Source: Ren et al. 2015, section 3.3.
    """
    top_indices = scores.topk(min(MAX_BOXES, len(scores))).indices
    clipped = clip(boxes[top_indices], size)
    has_area = (area(clipped) > 0).nonzero()[:, 0]
    top_indices = top_indices[has_area]
    clipped = clipped[has_area]
    selected = nms(clipped, scores[top_indices], MAX_IOU)[:count]
    return clipped[selected], top_indices[selected]


def class_agnostic(targets: Sequence[Objects]) -> list[Objects]:
    """Return the objects with all labels set to 0, the only class of proposals."""
    return [replace(target, labels=torch.zeros_like(target.labels)) for target in targets]


class Regions(NamedTuple):
    """M regions of a batch; in each image, the regions with an object come first."""

    regions: Tensor  # (M, 5), image index, x0, y0, x1, y1
    labels: Tensor  # (M,), the classes, C for background
    objects: Tensor  # (M,), indices into the concatenated objects of all images, -1 for background
    target_boxes: Tensor  # (M, 4), the box of the object; for background, the region itself

    @property
    def positive(self) -> Tensor:
        """The indices (P,) of the regions with an object."""
        return (self.objects >= 0).nonzero()[:, 0]


def indexed_regions(boxes: Sequence[Tensor]) -> Tensor:
    """Return the boxes (m, 4) of each image as regions (M, 5), whose first column is the index of the image."""
    return torch.cat([torch.cat([part.new_full((len(part), 1), index), part], 1) for index, part in enumerate(boxes)])


def draw_regions(
    proposals: Sequence[Tensor],
    targets: Sequence[Objects],
    classes: int,
    count: int,
    max_positive_fraction: float,
    rng: torch.Generator | None,
    min_background_iou: float = 0.0,
) -> Regions:
    """Draw at most `count` regions of each image, at most `max_positive_fraction` of `count` with an object.

    The regions are drawn from the proposals (m, 4) and the boxes of the objects. The highest IoU of a background region
    with an object is from `min_background_iou` to 0.5; in an image without objects, all regions are background. Source:
    Girshick 2015, section 2.3.
    """
    image_regions: list[Regions] = []
    object_offset = 0  # number of objects in earlier images
    for index, (proposal_boxes, objects) in enumerate(zip(proposals, targets, strict=True)):
        true_boxes = objects.boxes.to(proposal_boxes)
        labels = objects.labels.to(proposal_boxes.device)
        boxes = torch.cat([proposal_boxes, true_boxes if objects.crowd is None else true_boxes[~objects.crowd]])
        min_iou = min_background_iou if len(objects) else 0.0
        assignment = assign_by_iou(boxes, true_boxes, MIN_POSITIVE_IOU, MIN_POSITIVE_IOU, min_iou, crowd=objects.crowd)
        positive, negative = sample(assignment, count, max_positive_fraction, rng)
        object_indices = assignment.matched[positive]
        background_boxes = boxes[negative]
        image_regions.append(
            Regions(
                indexed_regions([boxes[torch.cat([positive, negative])]]) + boxes.new_tensor([index, 0, 0, 0, 0]),
                torch.cat([labels[object_indices], torch.full_like(negative, classes)]),
                torch.cat([object_indices + object_offset, torch.full_like(negative, -1)]),
                torch.cat([true_boxes[object_indices], background_boxes]),
            )
        )
        object_offset += len(objects)
    return Regions(*(torch.cat(values) for values in zip(*image_regions, strict=True)))


def head_losses(y: Tensor, regions: Regions, weights: tuple[float, float]) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Return both losses of the head's outputs y (M, C + 1 + 4), and the gradient of their sum weighted by `weights`.

    The first loss is the softmax cross-entropy of the C classes and background, averaged over the regions. The second
    is the smooth L1 loss of the four offsets, summed over the regions with an object and divided by the number of all
    regions. Source: Girshick 2015, equations 1-3.
    """
    n_regions = max(len(y), 1)
    positive = regions.positive
    logits, offsets = y[:, :-4], y[positive, -4:]
    cost, dlogits = SoftmaxCrossEntropy(reduction="sum").compute(logits, regions.labels)
    expected_offsets = encode(regions.target_boxes[positive], regions.regions[positive, 1:], DEVIATIONS)
    distance, doffsets = Huber(reduction="sum").compute(offsets, expected_offsets)
    dy = torch.zeros_like(y)
    dy[:, :-4] = dlogits * (weights[0] / n_regions)
    dy[positive, -4:] = doffsets * (weights[1] / n_regions)
    return (cost / n_regions, distance / n_regions), dy


def decode_head_outputs(y: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return boxes (M, 4) and scores (M, C) decoded from the head's outputs (M, C + 1 + 4) for proposals (M, 4)."""
    return decode(y[:, -4:], boxes, DEVIATIONS), y[:, :-4].softmax(1)[:, :-1]
