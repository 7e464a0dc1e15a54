"""Nodes of ONNX's operators on boxes: RoiAlign and NonMaxSuppression."""

import torch
from torch import Tensor

from conformance.case import SkipCase
from conformance.onnx_nodes.operator import Operator, Outputs, forward
from pellucid.layers import RoIAlign
from pellucid.ops.nms import nms


def roi_align(
    x: Tensor,
    rois: Tensor,
    batch_indices: Tensor,
    *,
    coordinate_transformation_mode: str = "half_pixel",
    mode: str = "avg",
    output_height: int = 1,
    output_width: int = 1,
    sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
) -> Outputs:
    """Return the outputs of a RoiAlign node, computed by RoIAlign, which has the mode "avg" only."""
    if mode != "avg":
        raise SkipCase(f"option mode={mode!r}")
    aligned = coordinate_transformation_mode == "half_pixel"
    layer = RoIAlign((output_height, output_width), spatial_scale, sampling_ratio, aligned)
    regions = torch.cat([batch_indices[:, None].to(rois.dtype), rois], 1)
    return (forward(layer, (x, regions))[0],)


def non_max_suppression(
    boxes: Tensor,
    scores: Tensor,
    max_output_boxes_per_class: Tensor | None = None,
    iou_threshold: Tensor | None = None,
    score_threshold: Tensor | None = None,
    *,
    center_point_box: int = 0,
) -> Outputs:
    """Return the outputs of a NonMaxSuppression node, computed by nms for each class of each image.

    The node's boxes are (y, x) of two opposite corners, or, with `center_point_box`, (x, y) of the centre and the
    size. The output is (n, 3): the indices of image, class and box.
    """
    count, threshold = (int(_scalar(max_output_boxes_per_class, 0)), _scalar(iou_threshold, 0.0))
    first, second = boxes[..., :2], boxes[..., 2:]
    if center_point_box:
        first, second = first - second / 2, first + second / 2
    boxes = torch.cat([first.minimum(second), first.maximum(second)], 2)
    selected = []
    for image, (candidates, by_class) in enumerate(zip(boxes, scores, strict=True)):
        for label, values in enumerate(by_class):
            candidate_indices = (values > _scalar(score_threshold, -torch.inf)).nonzero()[:, 0]
            kept_indices = candidate_indices[
                nms(candidates[candidate_indices], values[candidate_indices], threshold)[:count]
            ]
            image_and_class = torch.tensor([image, label]).expand(len(kept_indices), 2)
            selected.append(torch.cat([image_and_class, kept_indices[:, None]], 1))
    return (torch.cat(selected),)


def _scalar(value: Tensor | None, default: float) -> float:
    return default if value is None else value.item()


OPERATORS = {
    "RoiAlign": Operator(RoIAlign, roi_align, since=16),
    "NonMaxSuppression": Operator(nms, non_max_suppression, since=10),
}
