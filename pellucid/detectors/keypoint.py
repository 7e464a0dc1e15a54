"""Keypoint R-CNN: Faster R-CNN with a head that predicts the key-points of each object."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.detectors.base import Size
from pellucid.detectors.faster import ProposalDetector, faster_rcnn
from pellucid.detectors.regions import Regions, indexed_regions
from pellucid.detectors.two_stage import HeadResult
from pellucid.layers import Conv2d, ConvTranspose2d, ReLU, RoIAlign
from pellucid.layers.base import Layer, Mode, Params
from pellucid.losses import SoftmaxCrossEntropy
from pellucid.losses.base import upcast_half
from pellucid.models.pyramid import Pyramid
from pellucid.objective import Losses
from pellucid.ops.heatmaps import peaks_by_quarter
from pellucid.ops.image_objects import Detections, Objects


@dataclass(frozen=True)
class KeypointRCNN(ProposalDetector):
    """Faster R-CNN with an additional head, which outputs K maps for each region, one for each key-point.

    The loss "points" is the softmax cross-entropy over the M x M cells; the target is the cell that contains the point.
    The loss is averaged over the labelled points in regions with an object; points outside their regions are left out.
    The score of a point is the highest probability of a cell.
    point_align: RoIAlign on the finest map.
    point_head: outputs (K, M, M) logits over the region.
    Raises PellucidError for objects without key-points.
    Source: He, Gkioxari, Dollar and Girshick 2017, section 5.
    """

    point_align: Layer
    point_head: Layer

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Initialize the parameters of Faster R-CNN, then the parameters of the key-point head.

        Raises PellucidError unless the key-point head outputs maps (K, M, M).
        """
        params, output_shape = super().init(shape, rng)
        maps = self.init_head(params, "point_", shape, self.finest_map_shape(shape), rng)
        if len(maps) != 3:
            raise PellucidError(
                f"KeypointRCNN: point_head outputs {tuple(maps)} for a region; give it a map for each key-point"
            )
        return params, output_shape

    def branch_gradients(
        self, params: Params, finest_map: Tensor, sampled_regions: Regions, targets: Sequence[Objects], mode: Mode
    ) -> HeadResult:
        """Return the loss "points" and its gradients, the latter only if `mode.keep`."""
        positive = sampled_regions.positive
        objects = sampled_regions.objects[positive]
        regions = sampled_regions.regions[positive]

        def head_loss(y: Tensor) -> tuple[Losses, Tensor]:  # (P, K, M, M)
            cells, is_counted = point_cells(targets, objects, regions, y.shape[1:])
            rows = upcast_half(y).flatten(2)[is_counted]  # (points, M M)
            scale = 1 / max(len(rows), 1)
            value, drows = SoftmaxCrossEntropy(reduction="sum").compute(rows, cells[is_counted])
            dy = torch.zeros_like(y).flatten(2)
            dy[is_counted] = (drows * (self.weight("points") * scale)).to(y.dtype)
            return {"points": value * scale}, dy.view(y.shape)

        return self.head_gradients(params, "point_", finest_map, regions, head_loss, mode)

    def branch_counts(self, sampled_regions: Regions, targets: Sequence[Objects]) -> dict[str, float]:
        """Return the number of labelled points in the regions with an object."""
        positive = sampled_regions.positive
        n_points = next(
            (target.keypoints.shape[1] for target in targets if len(target) and target.keypoints is not None), 0
        )
        _, is_counted = point_cells(
            targets, sampled_regions.objects[positive], sampled_regions.regions[positive], (n_points, 1, 1)
        )
        return {"points": float(is_counted.sum())}

    def complete(
        self, params: Params, finest_map: Tensor, detections: list[Detections], image_size: Size
    ) -> list[Detections]:
        """Return the detections with their key-points."""
        regions = indexed_regions([detection.boxes for detection in detections])
        y = self.outputs(params, "point_", finest_map, regions)  # (n, K, M, M)
        scores = y.flatten(2).softmax(2).amax(2)  # (n, K)
        corner = regions[:, None, 1:3]
        extent = (regions[:, 3:] - regions[:, 1:3])[:, None]
        position = corner + peaks_by_quarter(y) / y.shape[3] * extent
        detection_counts = [len(detection) for detection in detections]
        image_keypoints = torch.cat([position, scores[..., None]], 2).split(detection_counts)
        return [
            replace(detection, keypoints=keypoints)
            for detection, keypoints in zip(detections, image_keypoints, strict=True)
        ]


def point_cells(
    targets: Sequence[Objects], objects: Tensor, regions: Tensor, shape: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Return the index (P, K) of each key-point's cell in its region (P, 5), and whether the point counts (P, K) bool.

    Cells are numbered by rows. objects: index (P,) into the objects of all images. shape: (K, M, M). Raises
    PellucidError if an image with objects has no key-points, or another number of them.
    """
    count, height, width = shape
    wrong_image = next(
        (
            index
            for index, target in enumerate(targets)
            if len(target) and (target.keypoints is None or target.keypoints.shape[1] != count)
        ),
        None,
    )
    if wrong_image is not None:
        wrong_keypoints = targets[wrong_image].keypoints
        raise PellucidError(
            f"KeypointRCNN needs {count} key-points, but the objects of image {wrong_image} of the batch have "
            f"{'none' if wrong_keypoints is None else wrong_keypoints.shape[1]}; give data with {count} for each object"
        )
    keypoints = [target.keypoints for target in targets if target.keypoints is not None and len(target)]
    if not keypoints:
        return objects.new_zeros(0, count), torch.zeros(0, count, dtype=torch.bool, device=objects.device)
    points = torch.cat(keypoints).to(regions)[objects]  # (P, K, 3)
    relative_points = (points[..., :2] - regions[:, None, 1:3]) / (regions[:, 3:] - regions[:, 1:3])[:, None]
    is_inside = ((relative_points >= 0) & (relative_points <= 1)).all(2)
    column, row = (relative_points * relative_points.new_tensor([width, height])).floor().long().unbind(2)
    # A point on the right or lower edge belongs to the last cell.
    cells = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    return cells, is_inside & (points[..., 2] > 0)


def keypoint_rcnn(
    points: int = 17, backbone: Pyramid = "mobilenet_v2", channels: int = 96, depth: int = 2, units: int = 384
) -> KeypointRCNN:
    """Return Keypoint R-CNN of one class on a backbone of the zoo, with maps of 28 x 28 cells.

    points: the number of key-points of an object. For the other arguments see `faster_rcnn`.
    """
    base = faster_rcnn(1, backbone, channels, depth, units)
    head = Sequential(
        conv1=Conv2d(channels, 3, padding=1),
        relu1=ReLU(),
        conv2=Conv2d(channels, 3, padding=1),
        relu2=ReLU(),
        up=ConvTranspose2d(points, 4, stride=2, padding=1),
    )
    return KeypointRCNN(
        1, base.backbone, base.neck, base.rpn, base.align, base.head, base.strides,
        RoIAlign(14, 1 / base.strides[0], sampling=2), head, weights=base.weights,
    )  # fmt: skip
