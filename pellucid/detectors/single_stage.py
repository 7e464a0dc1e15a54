"""The default detector: a feature pyramid with one anchor in each cell."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from pellucid.base.limits import MAX_DETECTOR_LENGTH
from pellucid.base.settings.checks import check_above_zero
from pellucid.combine import Sequential, Shared
from pellucid.constant import constant
from pellucid.detectors.base import Anchors, OneStageDetector, Size, collect_positives, draw_small_weights
from pellucid.detectors.checks import check_strides
from pellucid.layers import Conv2d, GroupNorm, ReLU
from pellucid.layers.base import Layer, Params
from pellucid.losses import GIoU, QualityFocal
from pellucid.models.fpn import fpn
from pellucid.models.pyramid import Pyramid, pyramid, strides
from pellucid.objective import Losses
from pellucid.ops.anchors import grid_anchors
from pellucid.ops.assign import Assignment, assign_atss
from pellucid.ops.boxes import paired_iou
from pellucid.ops.coding import decode, decode_gradient
from pellucid.ops.image_objects import Objects

# The initial scores of the anchors. They are low because nearly all anchors are background (Lin et al. 2017, "Focal
# loss for dense object detection", section 4.1).
PRIOR = 0.01


@dataclass(frozen=True)
class SingleStage(OneStageDetector):
    """A single-stage detector with one square anchor in each cell, matched by ATSS.

    The side of an anchor is `scale` strides. The target of an anchor's score is the IoU of its predicted box with the
    object that it is assigned to, and 0 for background and for other classes.
    backbone: outputs the maps of an image at `strides`.
    neck: outputs maps of the same sizes.
    head: outputs C scores and the offsets of a box for each cell of these maps.
    Losses: "score", the quality focal loss, and "box", 1 - GIoU (weight 2 in `single_stage`). Both are sums over the
    anchors, divided by the number of positive anchors in the batch.
    Sources: Lin et al. 2017 (the pyramid), Zhang et al. 2020 (ATSS), Li et al. 2020 (quality focal loss), Rezatofighi
    et al. 2019 (GIoU).
    """

    per_positive_losses: ClassVar[tuple[str, ...]] = ("score", "box")
    backbone: Layer
    neck: Layer
    head: Layer
    strides: tuple[int, ...]
    scale: float = 4.0

    def __post_init__(self) -> None:
        """Raise PellucidError for strides or a scale that are not above 0."""
        super().__post_init__()
        check_strides(self, self.strides)
        check_above_zero(self, MAX_DETECTOR_LENGTH, scale=self.scale)

    @property
    def outputs_per_anchor(self) -> int:
        """D: the scores of the classes, and dx, dy, dw, dh."""
        return self.classes + 4

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Initialize all parameters; the initial scores are near PRIOR, the initial boxes near the anchors."""
        params, output_shape = super().init(shape, rng)
        last_conv = params["head"]["layer"]["out"]
        draw_small_weights(last_conv, rng)
        last_conv["bias"][: self.classes] = math.log(PRIOR / (1 - PRIOR))
        return params, output_shape

    def anchors(self, sizes: Sequence[Size]) -> Tensor:
        """Return a square anchor around the centre of each cell."""
        bases = [torch.tensor([[1 - self.scale, 1 - self.scale, 1 + self.scale, 1 + self.scale]]) for _ in sizes]
        return grid_anchors(
            [base * stride / 2 for base, stride in zip(bases, self.strides, strict=True)], sizes, self.strides
        )

    def assign(self, anchors: Anchors, objects: Objects) -> Assignment:
        """Assign the objects of an image to the anchors by ATSS."""
        cell_counts = [height * width for height, width in anchors.sizes]
        return assign_atss(anchors.boxes, cell_counts, objects.boxes.to(anchors.boxes), crowd=objects.crowd)

    def losses(self, y: Tensor, anchors: Anchors, targets: Sequence[Objects]) -> tuple[Losses, Tensor]:
        """Return both losses, and the gradient of their weighted sum with respect to y."""
        logits, offsets = y.split([self.classes, 4], 2)  # (N, A, C), (N, A, 4)
        assignments = [self.assign(anchors, target) for target in targets]
        matches = collect_positives(assignments, targets, y)
        index = (matches.image, matches.anchor)
        n_positives = max(len(matches.image), 1)

        predicted_offsets, matched_anchors = offsets[index], anchors.boxes[matches.anchor]  # (P, 4)
        boxes = decode(predicted_offsets, matched_anchors)
        box_loss, dboxes = GIoU(reduction="sum").compute(boxes, matches.target_boxes)
        quality = torch.zeros_like(logits)
        quality[(*index, matches.label)] = constant(paired_iou(boxes, matches.target_boxes))
        scored_mask = matches.negative.clone()
        scored_mask[index] = True
        score_loss, dlogits = QualityFocal(reduction="sum").compute(logits[scored_mask], quality[scored_mask])

        dy = torch.zeros_like(y)
        dy[..., : self.classes][scored_mask] = dlogits * (self.weight("score") / n_positives)
        doffsets = decode_gradient(dboxes, predicted_offsets, matched_anchors)
        dy[..., self.classes :][index] = doffsets * (self.weight("box") / n_positives)
        return {"score": score_loss / n_positives, "box": box_loss / n_positives}, dy

    def decode(self, y: Tensor, anchors: Anchors) -> tuple[Tensor, Tensor]:
        """Return the decoded boxes and the scores."""
        return decode(y[:, self.classes :], anchors.boxes), y[:, : self.classes].sigmoid()


def single_stage(
    classes: int = 1, backbone: Pyramid = "mobilenet_v2", channels: int = 96, depth: int = 2, groups: int = 0
) -> SingleStage:
    """Return the default detector on a backbone of the zoo.

    channels: of the feature pyramid's maps. depth: the number of 3 x 3 convolutions in the head before the last one.
    groups: of group normalization in the backbone, for trainings without weights to start from; see `pyramid`.
    """
    blocks: dict[str, Layer] = {}
    for k in range(1, depth + 1):
        blocks |= {
            f"conv{k}": Conv2d(channels, 3, padding=1, bias=False),
            f"norm{k}": GroupNorm(8),
            f"relu{k}": ReLU(),
        }
    head = Shared(Sequential(**blocks, out=Conv2d(classes + 4, 3, padding=1)))
    return SingleStage(classes, pyramid(backbone, groups), fpn(channels), head, strides(backbone), weights={"box": 2.0})
