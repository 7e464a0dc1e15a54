"""Single-stage detectors as one network with one loss, for traces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.data.augment.standardise import scaled
from pellucid.detectors import Anchors, OneStageDetector
from pellucid.detectors.base import join_maps, split_maps
from pellucid.losses.base import Loss
from pellucid.ops.image_objects import Objects
from pellucid.task import Traced
from pellucid.training.examples import as_inputs

if TYPE_CHECKING:
    from pellucid.model import Model


@dataclass(frozen=True, repr=False)
class TracedBatch:
    """A detector, the number of images in the batch, and their size (H, W) in pixels."""

    detector: OneStageDetector
    n_images: int
    size: tuple[int, int]

    def __repr__(self) -> str:
        """Return the name of the detector."""
        return type(self.detector).__name__


@dataclass(frozen=True)
class DetectionLoss(Loss):
    """The weighted sum of a detector's losses, computed from the output maps of its last network.

    Targets are (objects, 7): index of the image, label, x0, y0, x1, y1, and 1 for a crowd, else 0.
    """

    batch: TracedBatch

    def compute(self, y: Any, target: Tensor) -> tuple[Tensor, Any]:
        """Return the loss and its gradient with respect to the maps y, a tensor or a tuple of tensors."""
        maps: Sequence[Tensor] = y if isinstance(y, tuple) else (y,)
        detector, size = self.batch.detector, self.batch.size
        sizes = [(map_.shape[2], map_.shape[3]) for map_ in maps]
        anchors = Anchors(detector.anchors(sizes).to(maps[0]), sizes, size)
        losses, dy = detector.losses(
            join_maps(maps, detector.outputs_per_anchor), anchors, _objects_from_rows(target, self.batch.n_images)
        )
        loss = torch.stack([detector.weight(name) * term for name, term in losses.items()]).sum()
        dmaps = split_maps(dy, maps)
        return loss, dmaps if isinstance(y, tuple) else dmaps[0]


def traced_detector(model: Model, x: Any, target: Any) -> Traced:
    """Return a detector as one network with one loss, and its input and targets.

    x: images (N, C, H, W). target: a list of the Objects of each image. Raises PellucidError for other data, and for
    two-stage detectors, since the input of their second stage is not the output of a layer.
    """
    detector = model.objective
    if not isinstance(detector, OneStageDetector):
        raise PellucidError(
            f"trace: {type(detector).__name__} computes regions between its networks, outside of any layer; trace a "
            "single-stage detector"
        )
    images, objects = as_inputs(x, "trace: x"), [target] if isinstance(target, Objects) else target
    detector.check(None, objects)
    if images.dim() != 4 or len(images) != len(objects) or not len(images):
        raise PellucidError(
            f"trace: images of shape {tuple(images.shape)} and the Objects of {len(objects)}; give (N, C, H, W) and a "
            "list of N"
        )
    # One row for each object, with the columns of DetectionLoss.
    rows = [
        torch.cat([
            truth.boxes.new_full((len(truth), 1), k), truth.labels[:, None].to(truth.boxes), truth.boxes,
            (torch.zeros_like(truth.labels) if truth.crowd is None else truth.crowd)[:, None].to(truth.boxes),
        ], 1)
        for k, truth in enumerate(objects)
    ]  # fmt: skip
    loss = DetectionLoss(TracedBatch(detector, len(images), (images.shape[2], images.shape[3])))
    x = scaled(images, model.stats)
    return Traced(Sequential(**detector.nets), model.params, loss, x, torch.cat(rows))


def _objects_from_rows(target: Tensor, n_images: int) -> list[Objects]:
    rows_by_image = [target[target[:, 0] == k] for k in range(n_images)]
    return [Objects(rows[:, 2:6], rows[:, 1].long(), crowd=rows[:, 6] > 0) for rows in rows_by_image]
