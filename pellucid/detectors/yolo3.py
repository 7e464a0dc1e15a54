"""YOLO v3: three anchors in each cell of three maps; each object is assigned to one anchor."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.base.limits import MAX_DETECTOR_LENGTH
from pellucid.base.settings.checks import check_above_zero
from pellucid.base.text import plural
from pellucid.combine import Graph
from pellucid.constant import constant
from pellucid.detectors.base import Anchors, OneStageDetector, Size, collect_positives, draw_small_weights
from pellucid.detectors.checks import check_strides
from pellucid.layers import Conv2d
from pellucid.layers.base import Layer, Params
from pellucid.losses import BinaryCrossEntropy
from pellucid.models.fpn import fpn
from pellucid.models.pyramid import Pyramid, pyramid, strides
from pellucid.objective import Losses
from pellucid.ops.anchors import grid_anchors
from pellucid.ops.assign import Assignment, assign_best_anchor
from pellucid.ops.coding import MAX_LOG_SIZE
from pellucid.ops.image_objects import Objects

PRIOR = 0.01  # initial probability that an anchor contains an object
MAX_BACKGROUND_IOU = 0.7  # an unassigned anchor is ignored if its predicted box has a higher IoU with an object
# Widths and heights in pixels of the anchors of the fine, middle and coarse map (Redmon and Farhadi 2018, section 2.3).
ANCHOR_SHAPES = (
    ((10.0, 13.0), (16.0, 30.0), (33.0, 23.0)),
    ((30.0, 61.0), (62.0, 45.0), (59.0, 119.0)),
    ((116.0, 90.0), (156.0, 198.0), (373.0, 326.0)),
)
BINARY_CROSS_ENTROPY = BinaryCrossEntropy(reduction="sum")


@dataclass(frozen=True)
class YOLO3(OneStageDetector):
    """YOLO v3.

    The centre of a box is at sigmoid(x), sigmoid(y) in the anchor's cell; its width and height are the anchor's times
    exp(w) and exp(h). An object is assigned to the anchor of the most similar shape in the cell that contains its
    centre.
    backbone, neck: together they output the maps of an image at `strides`.
    head: outputs for each anchor x, y, w, h, the logit of an object, and the logits of the C classes.
    shapes: for each map, the widths and heights of a cell's anchors.
    Losses: "box", the cross-entropy of x and y plus half the squared error of w and h, weighted by 2 minus the fraction
    of the image that the object covers; "object" and "class", cross-entropies. All are sums, divided by the number of
    positive anchors in the batch. Source: Redmon and Farhadi 2018, sections 2.1 to 2.3; the weighting of "box" is from
    their code.
    """

    # losses that are sums divided by the number of positive anchors
    per_positive_losses: ClassVar[tuple[str, ...]] = ("box", "object", "class")
    backbone: Layer
    neck: Layer
    head: Layer
    strides: tuple[int, ...]
    shapes: tuple[tuple[tuple[float, float], ...], ...] = ANCHOR_SHAPES

    def __post_init__(self) -> None:
        """Raise PellucidError unless strides and shapes are above 0, and there are shapes for each stride."""
        super().__post_init__()
        check_strides(self, self.strides)
        for shapes in self.shapes:
            check_above_zero(self, MAX_DETECTOR_LENGTH, shapes=shapes)
        if len(self.shapes) != len(self.strides):
            raise PellucidError(
                f"YOLO3: there are {plural(len(self.strides), 'stride')} and {plural(len(self.shapes), 'list')} "
                "of shapes; give one each for each map"
            )

    @property
    def outputs_per_anchor(self) -> int:
        """D: x, y, w, h, the logit of an object, and the logits of the classes."""
        return 5 + self.classes

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Initialize all parameters; the initial probability of an object is PRIOR."""
        params, output_shape = super().init(shape, rng)
        draw_small_weights(params["head"], rng)
        for last in params["head"].values():
            last["bias"].view(-1, self.outputs_per_anchor)[:, 4] = math.log(PRIOR / (1 - PRIOR))
        return params, output_shape

    def anchors(self, sizes: Sequence[Size]) -> Tensor:
        """Return the anchors around the centre of each cell."""
        half_sizes = [torch.tensor(shapes) / 2 for shapes in self.shapes]
        bases = [
            torch.cat([stride / 2 - half_size, stride / 2 + half_size], 1)
            for half_size, stride in zip(half_sizes, self.strides, strict=True)
        ]
        return grid_anchors(bases, sizes, self.strides)

    def assign(self, anchors: Anchors, objects: Objects) -> Assignment:
        """Assign each object to the anchor of the most similar shape in the cell that contains its centre."""
        return self._assign(anchors, objects, predicted=None)

    def losses(self, y: Tensor, anchors: Anchors, targets: Sequence[Objects]) -> tuple[Losses, Tensor]:
        """Return the three losses, and the gradient of their weighted sum with respect to y."""
        all_boxes = constant(self._decode_boxes(y, anchors))  # (N, A, 4), held constant by `verify`
        assignments = [self._assign(anchors, objects, boxes) for objects, boxes in zip(targets, all_boxes, strict=True)]
        matches = collect_positives(assignments, targets, y)
        index = (matches.image, matches.anchor)
        n_positives = max(len(matches.image), 1)
        outputs = y[index]  # (P, D)
        corner, size = self.cells(anchors)
        low, high = matches.target_boxes.split(2, 1)
        position = (((low + high) / 2 - corner[matches.anchor]) / size[matches.anchor]).clamp(0, 1)  # (P, 2)
        shape = anchors.boxes[matches.anchor, 2:] - anchors.boxes[matches.anchor, :2]
        log_size = ((high - low) / shape).clamp_min(1e-3).log()
        area_fraction = (high - low).prod(1, keepdim=True) / (anchors.image_size[0] * anchors.image_size[1])
        weight = 2 - area_fraction  # (P, 1)

        doutputs = torch.zeros_like(outputs)
        position_loss = F.binary_cross_entropy_with_logits(outputs[:, :2], position, weight, reduction="sum")
        size_error = outputs[:, 2:4] - log_size
        box_loss = position_loss + (weight * size_error**2).sum() / 2
        doutputs[:, :2] = weight * (outputs[:, :2].sigmoid() - position) * self.weight("box")
        doutputs[:, 2:4] = weight * size_error * self.weight("box")
        class_loss, dclasses = BINARY_CROSS_ENTROPY.compute(
            outputs[:, 5:], F.one_hot(matches.label, self.classes).to(y)
        )
        doutputs[:, 5:] = dclasses * self.weight("class")
        has_object = torch.zeros_like(y[..., 4])
        has_object[index] = 1
        scored_mask = matches.negative.clone()
        scored_mask[index] = True
        object_loss, dobjects = BINARY_CROSS_ENTROPY.compute(y[..., 4][scored_mask], has_object[scored_mask])

        dy = torch.zeros_like(y)
        dy[index] = doutputs / n_positives
        dy[..., 4][scored_mask] = dobjects * (self.weight("object") / n_positives)
        return {
            "box": box_loss / n_positives,
            "object": object_loss / n_positives,
            "class": class_loss / n_positives,
        }, dy

    def decode(self, y: Tensor, anchors: Anchors) -> tuple[Tensor, Tensor]:
        """Return the decoded boxes, and the probability of an object times the probability of each class."""
        return self._decode_boxes(y[None], anchors)[0], y[:, 4:5].sigmoid() * y[:, 5:].sigmoid()

    def _assign(self, anchors: Anchors, objects: Objects, predicted: Tensor | None) -> Assignment:
        """Assign the objects of an image to the anchors.

        predicted: the predicted boxes (A, 4), which determine the ignored anchors, or None to ignore no anchor.
        """
        return assign_best_anchor(
            anchors.boxes, [torch.tensor(shape) for shape in self.shapes], anchors.sizes, self.strides,
            objects.boxes.to(anchors.boxes), predicted, MAX_BACKGROUND_IOU, objects.crowd,
        )  # fmt: skip

    def _decode_boxes(self, y: Tensor, anchors: Anchors) -> Tensor:
        """Return the boxes (N, A, 4) decoded from the outputs y (N, A, D)."""
        corner, size = self.cells(anchors)
        shape = anchors.boxes[:, 2:] - anchors.boxes[:, :2]
        centre = corner + y[..., :2].sigmoid() * size
        half = shape * y[..., 2:4].clamp_max(MAX_LOG_SIZE).exp() / 2
        return torch.cat([centre - half, centre + half], -1)

    def cells(self, anchors: Anchors) -> tuple[Tensor, Tensor]:
        """Return the upper left corner (A, 2) and the side length (A, 1), in pixels, of each anchor's cell."""
        anchor_counts = [h * w * len(shapes) for (h, w), shapes in zip(anchors.sizes, self.shapes, strict=True)]
        sides = [
            torch.full((n_anchors, 1), float(stride))
            for n_anchors, stride in zip(anchor_counts, self.strides, strict=True)
        ]
        size = torch.cat(sides).to(anchors.boxes)
        return (anchors.boxes[:, :2] + anchors.boxes[:, 2:] - size) / 2, size


def yolo3(classes: int = 1, backbone: Pyramid = "mobilenet_v2", channels: int = 96) -> YOLO3:
    """Return YOLO v3 on a backbone of the zoo.

    channels: of the maps of the feature pyramid.
    """
    maps = ("map1", "map2", "map3")
    out_layers: dict[str, tuple[Any, ...]] = {
        f"out{k}": (Conv2d(len(ANCHOR_SHAPES[k - 1]) * (5 + classes), 3, padding=1), name)
        for k, name in enumerate(maps, start=1)
    }
    head = Graph(out_layers, tuple(out_layers), maps)
    return YOLO3(classes, pyramid(backbone), fpn(channels), head, strides(backbone), nms_threshold=0.5)
