"""YOLO v1: for each cell of a grid, the boxes and class scores of one object are predicted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.settings.checks import check_whole
from pellucid.combine import Graph, Sequential
from pellucid.constant import constant
from pellucid.detectors.base import Anchors, OneStageDetector, Size, collect_positives, draw_small_weights
from pellucid.detectors.checks import check_stride
from pellucid.layers import Concat, Conv2d, Crop, GroupNorm, LeakyReLU, Upsample
from pellucid.layers.base import Layer, Params
from pellucid.models.pyramid import Pyramid, pyramid, strides
from pellucid.nested import leaves
from pellucid.objective import Losses
from pellucid.ops.anchors import grid_anchors
from pellucid.ops.assign import Assignment, assign_grid
from pellucid.ops.boxes import paired_iou
from pellucid.ops.image_objects import Objects

INITIAL_ROOT = 0.4  # initial w and h: square roots of a box's width and height as fractions of the image's
LOSS_WEIGHTS = {"box": 5.0, "background": 0.5}  # Redmon et al. 2016, section 2.2


@dataclass(frozen=True)
class YOLO1(OneStageDetector):
    """YOLO v1 with a convolution instead of the dense layers, so images may have any size.

    The image is divided into a grid whose cells have `stride` x `stride` pixels. The losses are squared errors: "box"
    (weight 5 in `yolo1`); "object", the error of the confidences of the assigned boxes, whose targets are these IoUs;
    "background" (weight 1/2 in `yolo1`), the error of all other confidences outside crowds, whose targets are 0; and
    "class", the error of the class scores of the cells with objects. Each is a sum divided by the number of images.
    backbone, neck, head: together they output for each cell C class scores, and x, y, w, h and a confidence for each of
        its B boxes, all without a sigmoid. x and y are the position of a box's centre in the cell, 0 to 1; w and h are
        the square roots of its width and height as fractions of the image's. An object is assigned to the cell that
        contains its centre, and to the box of this cell that has the highest IoU with it.
    Source: Redmon, Divvala, Girshick and Farhadi 2016, section 2.2, equation 3.
    """

    backbone: Layer
    neck: Layer
    head: Layer
    stride: int
    boxes: int = 2

    def __post_init__(self) -> None:
        """Raise PellucidError for a stride or a number of boxes below 1."""
        super().__post_init__()
        check_stride(self, self.stride)
        check_whole(self, boxes=self.boxes)

    @property
    def outputs_per_anchor(self) -> int:
        """D: five values for each box, and the scores of the classes."""
        return 5 * self.boxes + self.classes

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Initialize all parameters; initial boxes are centred in their cells, and their w and h are INITIAL_ROOT."""
        params, output_shape = super().init(shape, rng)
        draw_small_weights(params["head"], rng)
        (bias,) = (leaf for leaf in leaves(params["head"]) if leaf.dim() == 1)
        box_bias = bias[: 5 * self.boxes].view(self.boxes, 5)
        box_bias[:, :2] = 0.5
        box_bias[:, 2:4] = INITIAL_ROOT
        return params, output_shape

    def anchors(self, sizes: Sequence[Size]) -> Tensor:
        """Return the cells of the grid as boxes (A, 4)."""
        side = float(self.stride)
        return grid_anchors([torch.tensor([[0.0, 0.0, side, side]])], sizes, [side])

    def assign(self, anchors: Anchors, objects: Objects) -> Assignment:
        """Assign to each cell the first object whose centre it contains."""
        return assign_grid(anchors.sizes[0], self.stride, objects.boxes.to(anchors.boxes), objects.crowd)

    def losses(self, y: Tensor, anchors: Anchors, targets: Sequence[Objects]) -> tuple[Losses, Tensor]:
        """Return the four losses, and the gradient of their weighted sum with respect to y."""
        n_images = len(y)
        assignments = [self.assign(anchors, target) for target in targets]
        matches = collect_positives(assignments, targets, y)
        index = (matches.image, matches.anchor)
        box_outputs = y[..., : 5 * self.boxes].unflatten(2, (self.boxes, 5))  # (N, A, B, 5)
        boxes = self._decode_boxes(box_outputs[index], anchors.boxes[matches.anchor], anchors.image_size)  # (P, B, 4)
        iou = paired_iou(boxes.flatten(0, 1), matches.target_boxes.repeat_interleave(self.boxes, 0))  # (P B,)
        iou, best_box = constant(tuple(iou.view(-1, self.boxes).max(1)))  # (P,) each
        assigned_outputs = box_outputs[index][torch.arange(len(best_box), device=y.device), best_box]  # (P, 5)

        cell = anchors.boxes[matches.anchor]
        low, high = matches.target_boxes.split(2, 1)
        image_size = matches.target_boxes.new_tensor(anchors.image_size).flip(0)  # (width, height)
        expected_outputs = torch.cat(
            [((low + high) / 2 - cell[:, :2]) / self.stride, ((high - low) / image_size).sqrt()], 1
        )
        box_error = assigned_outputs[:, :4] - expected_outputs
        object_error = assigned_outputs[:, 4] - iou
        is_counted = matches.negative.clone()  # (N, A), cells that are not ignored
        is_counted[index] = True
        background_error = box_outputs[..., 4].clone()  # (N, A, B), the confidences that should be 0
        background_error[(*index, best_box)] = 0
        background_error[~is_counted] = 0
        class_error = y[..., 5 * self.boxes :][index] - F.one_hot(matches.label, self.classes).to(y)

        dbox_outputs = torch.zeros_like(box_outputs)
        dbox_outputs[..., 4] = self.weight("background") * background_error
        dbox_outputs[(*index, best_box)] = torch.cat(
            [self.weight("box") * box_error, self.weight("object") * object_error[:, None]], 1
        )
        dy = torch.zeros_like(y)
        dy[..., : 5 * self.boxes] = dbox_outputs.flatten(2)
        dy[..., 5 * self.boxes :][index] = self.weight("class") * class_error
        dy *= 2 / n_images
        errors = {"box": box_error, "object": object_error, "background": background_error, "class": class_error}
        return {name: (error**2).sum() / n_images for name, error in errors.items()}, dy

    def decode(self, y: Tensor, anchors: Anchors) -> tuple[Tensor, Tensor]:
        """Return the B boxes of each cell, and their scores: confidence times class score, both limited to 0 to 1."""
        box_outputs = y[:, : 5 * self.boxes].unflatten(1, (self.boxes, 5))  # (A, B, 5)
        boxes = self._decode_boxes(box_outputs, anchors.boxes, anchors.image_size)
        scores = box_outputs[..., 4:].clamp(0, 1) * y[:, None, 5 * self.boxes :].clamp(0, 1)  # (A, B, C)
        return boxes.flatten(0, 1), scores.flatten(0, 1)

    def _decode_boxes(self, box_outputs: Tensor, cells: Tensor, image: Size) -> Tensor:
        """Return the boxes (n, B, 4) decoded from the outputs (n, B, 5) of cells (n, 4)."""
        image_size = box_outputs.new_tensor(image).flip(0)
        centre = cells[:, None, :2] + box_outputs[..., :2] * self.stride
        half = box_outputs[..., 2:4] ** 2 * image_size / 2
        return torch.cat([centre - half, centre + half], 2)


def yolo1(classes: int = 1, backbone: Pyramid = "mobilenet_v2", channels: int = 192) -> YOLO1:
    """Return YOLO v1 on a backbone of the zoo, with a grid as fine as the backbone's middle map.

    channels: output channels of the two convolutions before the last convolution.
    """
    inputs = ("map1", "map2", "map3")
    nodes: dict[str, tuple[Any, ...]] = {
        "enlarge": (Upsample(2), "map3"),
        "crop": (Crop(), "enlarge", "map2"),
        "both": (Concat(), "map2", "crop"),
        "row1": (_block(channels, 1), "both"),
        "row2": (_block(channels, 3), "row1"),
    }
    head = Graph({"out": (Conv2d(10 + classes, 3, padding=1), "maps")}, ("out",), ("maps",))
    return YOLO1(
        classes, pyramid(backbone), Graph(nodes, ("row2",), inputs), head, strides(backbone)[1],
        weights=LOSS_WEIGHTS, nms_threshold=0.5,
    )  # fmt: skip


def _block(channels: int, kernel: int) -> Layer:
    conv = Conv2d(channels, kernel, padding=kernel // 2, bias=False)
    return Sequential(conv=conv, norm=GroupNorm(8), act=LeakyReLU(0.1))
