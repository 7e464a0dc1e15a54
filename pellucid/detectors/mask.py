"""Mask R-CNN: Faster R-CNN with a head that predicts the mask of each object."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.detectors.base import Size
from pellucid.detectors.faster import ProposalDetector, faster_rcnn
from pellucid.detectors.regions import Regions, indexed_regions
from pellucid.detectors.two_stage import HeadResult, roi_layer
from pellucid.layers import Conv2d, ConvTranspose2d, ReLU, RoIAlign
from pellucid.layers.base import Layer, Mode, Params
from pellucid.losses import BinaryCrossEntropy
from pellucid.losses.base import upcast_half
from pellucid.models.pyramid import Pyramid
from pellucid.objective import Losses
from pellucid.ops.image_objects import Detections, Objects


@dataclass(frozen=True)
class MaskRCNN(ProposalDetector):
    """Faster R-CNN with an additional head, which outputs one mask per class for each region.

    The loss "mask" is the binary cross-entropy of the true class's mask, averaged over all pixels of the regions with
    an object. The target is the object's mask, resampled by RoIAlign and thresholded at 1/2.
    mask_align: RoIAlign on the finest map.
    mask_head: outputs (C, M, M) logits of masks over the region.
    Raises PellucidError for objects without a mask.
    Source: He, Gkioxari, Dollar and Girshick 2017, section 3.
    """

    mask_align: Layer
    mask_head: Layer

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Initialize the parameters of Faster R-CNN, then the parameters of the mask head.

        Raises PellucidError unless the mask head outputs one mask per class.
        """
        params, output_shape = super().init(shape, rng)
        masks = self.init_head(params, "mask_", shape, self.finest_map_shape(shape), rng)
        if len(masks) != 3 or masks[0] != self.classes:
            raise PellucidError(
                f"MaskRCNN: mask_head outputs {tuple(masks)} for a region; give it a map for each of "
                f"{self.classes} classes"
            )
        return params, output_shape

    def branch_gradients(
        self, params: Params, finest_map: Tensor, sampled_regions: Regions, targets: Sequence[Objects], mode: Mode
    ) -> HeadResult:
        """Return the loss "mask" and its gradients, the latter only if `mode.keep`."""
        positive = sampled_regions.positive
        labels = sampled_regions.labels[positive]
        objects = sampled_regions.objects[positive]
        regions = sampled_regions.regions[positive]

        def head_loss(y: Tensor) -> tuple[Losses, Tensor]:  # (P, C, M, M)
            target = mask_targets(targets, objects, regions, y.shape[2:])
            rows = torch.arange(len(y), device=y.device)
            scale = 1 / max(target.numel(), 1)
            value, dmask = BinaryCrossEntropy(reduction="sum").compute(upcast_half(y[rows, labels]), target)
            dy = torch.zeros_like(y)
            dy[rows, labels] = (dmask * (self.weight("mask") * scale)).to(y.dtype)
            return {"mask": value * scale}, dy

        return self.head_gradients(params, "mask_", finest_map, regions, head_loss, mode)

    def branch_counts(self, sampled_regions: Regions, targets: Sequence[Objects]) -> dict[str, float]:
        """Return the number of regions with an object; pixels need not be counted, as all masks have equally many."""
        return {"mask": float(len(sampled_regions.positive))}

    def complete(
        self, params: Params, finest_map: Tensor, detections: list[Detections], image_size: Size
    ) -> list[Detections]:
        """Return the detections, each with the mask predicted for its class."""
        y = self.outputs(
            params, "mask_", finest_map, indexed_regions([detection.boxes for detection in detections])
        ).sigmoid()
        image_masks = y.split([len(detection) for detection in detections])
        class_masks = (
            masks[torch.arange(len(masks)), detection.labels]
            for masks, detection in zip(image_masks, detections, strict=True)
        )
        return [
            replace(detection, masks=paste_masks(masks, detection.boxes, image_size))
            for masks, detection in zip(class_masks, detections, strict=True)
        ]


def mask_targets(targets: Sequence[Objects], objects: Tensor, regions: Tensor, size: Sequence[int]) -> Tensor:
    """Return the mask of each object inside its region, resampled: (P, *size) with the values 0 and 1.

    objects: (P,), indices into the objects of all images. regions: (P, 5). Raises PellucidError if an image with
    objects has no masks.
    """
    maskless_index = next((index for index, target in enumerate(targets) if len(target) and target.masks is None), None)
    if maskless_index is not None:
        raise PellucidError(
            f"MaskRCNN needs masks, but the objects of image {maskless_index} of the batch have none; "
            "give data with masks or polygons, or train FasterRCNN"
        )
    masks = [target.masks for target in targets if target.masks is not None and len(target)]
    if not masks or not len(objects):
        return regions.new_zeros(len(objects), *size)
    object_masks = torch.cat(masks).to(regions)[:, None]  # (objects, 1, H, W)
    object_regions = torch.cat([objects[:, None].to(regions), regions[:, 1:]], 1)
    resampled, _ = RoIAlign((size[0], size[1])).forward({}, (object_masks, object_regions), Mode())
    return (resampled[:, 0] >= 0.5).to(regions)


def paste_masks(masks: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize mask probabilities (n, M, M) to boxes (n, 4), and threshold them at 1/2: (n, H, W) bool.

    size: (H, W) of the image.
    """
    height, width = size
    image_masks = torch.zeros(len(masks), height, width, dtype=torch.bool, device=boxes.device)
    for image_mask, mask, (x0, y0, x1, y1) in zip(image_masks, masks, boxes.tolist(), strict=True):
        # The pixels whose centres are in the box.
        left, top = max(0, math.ceil(x0 - 0.5)), max(0, math.ceil(y0 - 0.5))
        right, bottom = min(width, math.floor(x1 + 0.5)), min(height, math.floor(y1 + 0.5))
        if left >= right or top >= bottom:
            continue
        x = (torch.arange(left, right, device=boxes.device) + 0.5 - x0) / (x1 - x0) * 2 - 1  # -1 and 1 at the edges
        y = (torch.arange(top, bottom, device=boxes.device) + 0.5 - y0) / (y1 - y0) * 2 - 1
        grid = torch.stack([x.expand(len(y), -1), y[:, None].expand(-1, len(x))], 2)[None].to(mask)
        probabilities = F.grid_sample(mask[None, None], grid, padding_mode="border", align_corners=False)[0, 0]
        image_mask[top:bottom, left:right] = probabilities >= 0.5
    return image_masks


def mask_rcnn(
    classes: int = 1,
    backbone: Pyramid = "mobilenet_v2",
    channels: int = 96,
    depth: int = 2,
    units: int = 384,
    pool: bool = False,
) -> MaskRCNN:
    """Return Mask R-CNN on a backbone of the zoo, with masks of 28 x 28; for the arguments see `faster_rcnn`."""
    base = faster_rcnn(classes, backbone, channels, depth, units, pool)
    head = Sequential(
        conv1=Conv2d(channels, 3, padding=1), relu1=ReLU(), conv2=Conv2d(channels, 3, padding=1), relu2=ReLU(),
        up=ConvTranspose2d(channels, 2, stride=2), relu3=ReLU(), out=Conv2d(classes, 1, init_weight="lecun"),
    )  # fmt: skip
    return MaskRCNN(
        classes, base.backbone, base.neck, base.rpn, base.align, base.head, base.strides,
        roi_layer(14, base.strides[0], pool), head, weights=base.weights,
    )  # fmt: skip
