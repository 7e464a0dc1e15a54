"""SSD: class scores and a box for each prior; priors have different shapes, on maps of different sizes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.limits import MAX_DETECTOR_LENGTH
from pellucid.base.settings.checks import check_above_zero
from pellucid.base.text import plural
from pellucid.combine import Graph, Sequential
from pellucid.constant import constant
from pellucid.detectors.base import Anchors, OneStageDetector, Size, collect_positives, draw_small_weights
from pellucid.detectors.checks import check_strides
from pellucid.layers import Conv2d, GroupNorm, ReLU
from pellucid.layers.base import Layer, Params
from pellucid.losses import Huber, SoftmaxCrossEntropy
from pellucid.models.pyramid import Pyramid, pyramid, strides
from pellucid.objective import Losses
from pellucid.ops.anchors import ssd_priors
from pellucid.ops.assign import Assignment, assign_bipartite
from pellucid.ops.coding import decode, encode
from pellucid.ops.image_objects import Objects

NEGATIVES_PER_POSITIVE = 3  # number of priors in the loss: hard negative mining (Liu et al. 2016, section 2.2)
DEVIATIONS = (0.1, 0.1, 0.2, 0.2)  # standard deviations of dx, dy, dw, dh; the reference code calls them variances


@dataclass(frozen=True)
class SSD(OneStageDetector):
    """The single shot detector.

    backbone, neck: together they output the maps of an image at `strides`.
    head: outputs the logits of background and the C classes, and the offsets of a box, for each prior of each map.
    sides, ratios: see `pellucid.ops.anchors.ssd_priors`.
    Losses: "class", the softmax cross-entropy of the positive priors and of the negative priors with the highest loss,
    three times as many in each image; "box", the smooth L1 loss of the positive priors. Both are sums, divided by the
    number of positive priors in the batch. Source: Liu et al. 2016, section 2.2, equations 1 to 3.
    """

    per_positive_losses: ClassVar[tuple[str, ...]] = ("class", "box")
    backbone: Layer
    neck: Layer
    head: Layer
    strides: tuple[int, ...]
    sides: tuple[float, ...]
    ratios: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        """Raise PellucidError unless strides, sides and ratios are above 0 and their numbers match."""
        super().__post_init__()
        check_strides(self, self.strides)
        check_above_zero(self, MAX_DETECTOR_LENGTH, sides=self.sides)
        if any(self.ratios):
            check_above_zero(self, MAX_DETECTOR_LENGTH, ratios=self.ratios)
        if not len(self.strides) == len(self.ratios) == len(self.sides) - 1:
            raise PellucidError(
                f"SSD: there are {plural(len(self.strides), 'stride')}, {plural(len(self.ratios), 'ratio')} and "
                f"{plural(len(self.sides), 'side')}; give one of each for each map, and one more side"
            )

    @property
    def outputs_per_anchor(self) -> int:
        """D: the logits of background and of the classes, and dx, dy, dw, dh."""
        return self.classes + 5

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Initialize all parameters; initial class probabilities are about equal, initial boxes near the priors."""
        params, output_shape = super().init(shape, rng)
        draw_small_weights(params["head"], rng)
        return params, output_shape

    def anchors(self, sizes: Sequence[Size]) -> Tensor:
        """Return the priors (A, 4), see `ssd_priors`."""
        return ssd_priors(sizes, self.strides, self.sides, self.ratios)

    def assign(self, anchors: Anchors, objects: Objects) -> Assignment:
        """Assign each object to a different prior, and to all priors that have an IoU of at least 0.5 with it."""
        return assign_bipartite(anchors.boxes, objects.boxes.to(anchors.boxes), crowd=objects.crowd)

    def losses(self, y: Tensor, anchors: Anchors, targets: Sequence[Objects]) -> tuple[Losses, Tensor]:
        """Return both losses, and the gradient of their weighted sum with respect to y."""
        logits, offsets = y.split([self.classes + 1, 4], 2)  # (N, A, C + 1), (N, A, 4)
        assignments = [self.assign(anchors, target) for target in targets]
        matches = collect_positives(assignments, targets, y)
        index = (matches.image, matches.anchor)
        n_positives = max(len(matches.image), 1)

        classes = torch.zeros(y.shape[:2], dtype=torch.int64, device=y.device)  # 0 is background
        classes[index] = matches.label + 1
        selected_mask = constant(self._hard_negatives(logits, matches.negative, (classes > 0).sum(1)))
        selected_mask[index] = True
        class_loss, dlogits = SoftmaxCrossEntropy(reduction="sum").compute(
            logits[selected_mask], classes[selected_mask]
        )

        expected_offsets = encode(matches.target_boxes, anchors.boxes[matches.anchor], DEVIATIONS)
        box_loss, doffsets = Huber(reduction="sum").compute(offsets[index], expected_offsets)

        dy = torch.zeros_like(y)
        dy[..., : self.classes + 1][selected_mask] = dlogits * (self.weight("class") / n_positives)
        dy[..., self.classes + 1 :][index] = doffsets * (self.weight("box") / n_positives)
        return {"class": class_loss / n_positives, "box": box_loss / n_positives}, dy

    def decode(self, y: Tensor, anchors: Anchors) -> tuple[Tensor, Tensor]:
        """Return the decoded boxes, and the probabilities of the classes without background."""
        scores = y[:, : self.classes + 1].softmax(1)[:, 1:]
        return decode(y[:, self.classes + 1 :], anchors.boxes, DEVIATIONS), scores

    @staticmethod
    def _hard_negatives(logits: Tensor, negative: Tensor, n_positives: Tensor) -> Tensor:
        """Return a mask (N, A) of the negative priors with the highest loss, three for each positive prior.

        logits: (N, A, C + 1). negative: (N, A) bool. n_positives: (N,).
        """
        cost = (-logits.log_softmax(2)[..., 0]).masked_fill(~negative, -1)  # (N, A), the loss of background
        rank = cost.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        return negative & (rank < NEGATIVES_PER_POSITIVE * n_positives[:, None])


def ssd(
    classes: int = 1,
    backbone: Pyramid = "mobilenet_v2",
    channels: int = 128,
    sides: tuple[float, ...] = (20.0, 40.0, 72.0, 112.0, 168.0, 240.0),
) -> SSD:
    """Return SSD for images of about 320 pixels on a backbone of the zoo, with its three maps and two smaller maps.

    channels: of the maps that the last convolutions receive. sides: the side in pixels of the square priors on each
    map, and one additional value, see `ssd_priors`.
    """
    ratios = ((2.0,), (2.0, 3.0), (2.0, 3.0), (2.0,), (2.0,))
    nodes: dict[str, tuple[Any, ...]] = {f"reduce{k}": (_block(channels, 1), f"map{k}") for k in (1, 2, 3)}
    nodes |= {"extra4": (_block(channels, 3, 2), "reduce3"), "extra5": (_block(channels, 3, 2), "extra4")}
    inputs = ("map1", "map2", "map3")
    maps = tuple(nodes)
    anchors_per_cell = [2 + 2 * len(map_ratios) for map_ratios in ratios]
    out_layers = {
        f"out{k}": (Conv2d(n_anchors * (classes + 5), 3, padding=1), name)
        for k, (n_anchors, name) in enumerate(zip(anchors_per_cell, maps, strict=True), start=1)
    }
    coarsest_stride = strides(backbone)[2]
    return SSD(
        classes, pyramid(backbone), Graph(nodes, maps, inputs), Graph(out_layers, tuple(out_layers), maps),
        (*strides(backbone), 2 * coarsest_stride, 4 * coarsest_stride), sides, ratios,
        score_threshold=0.02, nms_threshold=0.45,
    )  # fmt: skip


def _block(channels: int, kernel: int, stride: int = 1) -> Layer:
    conv = Conv2d(channels, kernel, stride=stride, padding=kernel // 2, bias=False)
    return Sequential(conv=conv, norm=GroupNorm(8), relu=ReLU())
