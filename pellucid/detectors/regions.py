"""What the second stage of a detector learns: regions drawn from proposals, compared with objects."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.detectors.walk import side_slope
from pellucid.losses import Huber, SoftmaxCrossEntropy
from pellucid.objects import Objects
from pellucid.ops.assign import assign_by_iou, sample
from pellucid.ops.coding import decode, encode

DEVIATIONS = (0.1, 0.1, 0.2, 0.2)  # of the offsets that the head predicts (Girshick 2015, reference code)
POSITIVE = 0.5  # lowest IoU of a region with the object that it learns


class Regions(NamedTuple):
    """M regions of a batch. Those that learn an object come first in each image.

    regions: (M, 5), image index, x0, y0, x1, y1. labels: (M,), the number of classes for background. objects: (M,)
    index into the objects of all images, one after the other, -1 for background. truth: (M, 4), the box of that
    object, for background the region itself.
    """

    regions: Tensor
    labels: Tensor
    objects: Tensor
    truth: Tensor

    @property
    def positive(self) -> Tensor:
        """The indices of the regions that learn an object: (P,)."""
        return (self.objects >= 0).nonzero()[:, 0]


def numbered(boxes: Sequence[Tensor]) -> Tensor:
    """Return the boxes (m, 4) of each image as regions (M, 5) with the index of the image."""
    return torch.cat([torch.cat([one.new_full((len(one), 1), index), one], 1) for index, one in enumerate(boxes)])


def draw_regions(
    proposals: Sequence[Tensor],
    targets: Sequence[Objects],
    classes: int,
    count: int,
    share: float,
    rng: torch.Generator | None,
    floor: float = 0.0,
) -> Regions:
    """Draw at most `count` regions of each image, of them at most `share` with an object.

    Candidates are the proposals (m, 4) and the objects' own boxes. Background has an IoU of `floor` to 0.5 with the
    nearest object; in an image without objects, all is background. Source: Girshick 2015, section 2.3.
    """
    parts: list[Regions] = []
    first = 0  # objects of earlier images
    for index, (proposed, objects) in enumerate(zip(proposals, targets, strict=True)):
        truth = objects.boxes.to(proposed)
        labels = objects.labels.to(proposed.device)
        boxes = torch.cat([proposed, truth if objects.crowd is None else truth[~objects.crowd]])
        least = floor if len(objects) else 0.0
        assignment = assign_by_iou(boxes, truth, POSITIVE, POSITIVE, least, crowd=objects.crowd)
        positive, negative = sample(assignment, count, share, rng)
        matched, background, ground = assignment.matched[positive], boxes[negative], torch.full_like(negative, classes)
        parts.append(
            Regions(
                numbered([boxes[torch.cat([positive, negative])]]) + boxes.new_tensor([index, 0, 0, 0, 0]),
                torch.cat([labels[matched], ground]),
                torch.cat([matched + first, torch.full_like(negative, -1)]),
                torch.cat([truth[matched], background]),
            )
        )
        first += len(objects)
    return Regions(*(torch.cat(part) for part in zip(*parts, strict=True)))


def compare(y: Tensor, drawn: Regions, weights: tuple[float, float]) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Return both losses of the head's outputs y (M, C + 1 + 4), and the gradient of their weighted sum.

    The softmax cross-entropy of the C classes and background, the mean over the regions; and the smooth L1 distance
    of the four offsets, of regions with an object, divided by the number of all. Source: Girshick 2015, equations 1-3.
    """
    count = max(len(y), 1)
    positive = drawn.positive
    logits, offsets = y[:, :-4], y[positive, -4:]
    cost, dlogits = SoftmaxCrossEntropy(reduction="sum").compute(logits, drawn.labels)
    wanted = encode(drawn.truth[positive], drawn.regions[positive, 1:], DEVIATIONS)
    distance, doffsets = Huber(reduction="sum").compute(offsets, wanted)
    dy = torch.zeros_like(y)
    dy[:, :-4] = dlogits * (weights[0] / count)
    dy[positive, -4:] = doffsets * (weights[1] / count)
    return (cost / count, distance / count), dy


def read(y: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the boxes (M, 4) and the scores (M, C) of the head's outputs (M, C + 1 + 4) for proposals (M, 4)."""
    return decode(y[:, -4:], boxes, DEVIATIONS), y[:, :-4].softmax(1)[:, :-1]


def slopes(y: Tensor, box: Tensor, label: int, side: int | None) -> Tensor:
    """Return the derivative of a class's logit, or of a side of the box that is read, for one proposal (4,).

    y: the head's outputs (C + 1 + 4,) for it. side: 0 to 3 for x0, y0, x1, y1.
    """
    dy = torch.zeros_like(y)
    if side is None:
        dy[label] = 1
    else:
        dy[-4:] = side_slope(y[-4:], box, side, DEVIATIONS)
    return dy
