"""Metrics of semantic segmentation, for outputs (N, C, H, W) and masks of classes (N, H, W)."""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check
from pellucid.metrics.base import Metric, checked_ratio
from pellucid.metrics.functions import confusion_matrix

BOUNDARY_TOLERANCE = 0.0075  # fraction of the image diagonal within which boundaries match


@dataclass
class MeanIoU(Metric):
    """The mean over the classes of the IoU, TP / (TP + FP + FN), and the fraction of correct pixels.

    Both are computed from one confusion matrix of all pixels except those of class `ignore`. The mean is over the
    classes that occur or were predicted, as in scikit-learn's jaccard_score with average="macro".
    Source: Long, Shelhamer and Darrell 2015, section 5.
    """

    sums: ClassVar[tuple[str, ...]] = ("matrix",)

    ignore: int | None = None
    matrix: Tensor | None = field(default=None, init=False, repr=False)

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Count the pixels of a batch, except those of class `ignore`."""
        predicted, scored_mask = read_masks(self, outputs, targets, self.ignore)
        classes = outputs.shape[1]
        batch_matrix = torch.zeros(classes, classes, dtype=torch.int64, device=targets.device)
        if bool(scored_mask.any()):
            batch_matrix = confusion_matrix(targets[scored_mask].long(), predicted[scored_mask], classes)
        self.matrix = batch_matrix if self.matrix is None else self.matrix + batch_matrix

    def compute(self) -> dict[str, Any]:
        """Return {"miou", "pixel_accuracy"}, from 0 to 1, and "class_iou", a list with None for classes without IoU."""
        if self.matrix is None or not int(self.matrix.sum()):
            raise PellucidError(
                "MeanIoU: no examples were measured; call update first, with masks that contain other "
                "classes than `ignore`"
            )
        by_class = iou(self.matrix)
        has_iou = ~by_class.isnan()
        return {
            "miou": by_class[has_iou].mean().item(),
            "pixel_accuracy": checked_ratio(int(self.matrix.diagonal().sum()), int(self.matrix.sum()), self),
            "class_iou": [None if math.isnan(value) else value for value in by_class.tolist()],
        }


@dataclass
class BoundaryF1(Metric):
    """Boundary F1: the agreement of predicted and true boundaries, averaged over classes and images.

    A pixel is on the boundary of its class if one of its four neighbours is of another class. For precision and recall,
    a boundary pixel is matched if the other mask has a boundary pixel of the same class within `tolerance` times the
    image's diagonal. Pixels of class `ignore` are not boundary pixels, and their neighbours are not on a boundary with
    them. The mean is over the classes that have boundary pixels in the true or the predicted mask of an image, then
    over the images that have boundary pixels.
    Source: Csurka, Larlus and Perronnin 2013, "What is a good evaluation measure for semantic segmentation?".
    """

    sums: ClassVar[tuple[str, ...]] = ("total", "images")

    ignore: int | None = None
    tolerance: float = BOUNDARY_TOLERANCE
    total: float = field(default=0.0, init=False)
    images: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Raise PellucidError for a tolerance outside [0, 1]."""
        check(0 <= self.tolerance <= 1, "BoundaryF1: tolerance", "from 0 to 1", self.tolerance)

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Compare the boundaries of a batch of masks."""
        predicted, scored_masks = read_masks(self, outputs, targets, self.ignore)
        radius = self.tolerance * (targets.shape[1] ** 2 + targets.shape[2] ** 2) ** 0.5
        classes = outputs.shape[1]
        image_scores = list[float]()
        for predicted_mask, true_mask, scored_mask in zip(predicted, targets.long(), scored_masks, strict=True):
            predicted_edges = _boundary_masks(predicted_mask, scored_mask, classes)
            true_edges = _boundary_masks(true_mask, scored_mask, classes)
            n_predicted, n_true = predicted_edges.sum((1, 2)), true_edges.sum((1, 2))  # (C,)
            is_occurring = n_predicted + n_true > 0
            if not bool(is_occurring.any()):
                continue
            precision = (predicted_edges & _dilate(true_edges, radius)).sum((1, 2)) / n_predicted.clamp_min(1)
            recall = (true_edges & _dilate(predicted_edges, radius)).sum((1, 2)) / n_true.clamp_min(1)
            f1 = 2 * precision * recall / (precision + recall).clamp_min(1e-12)
            image_scores.append(float(f1[is_occurring].mean()))
        self.total += sum(image_scores)
        self.images += len(image_scores)

    def compute(self) -> dict[str, Any]:
        """Return {"boundary_f1": from 0 to 1}; 1 if no image has a boundary."""
        return {"boundary_f1": self.total / self.images if self.images else 1.0}


def iou(confusion: Tensor) -> Tensor:
    """Return TP / (TP + FP + FN) of each class in float64; NaN for a class that neither occurs nor was predicted."""
    return iou_of_areas(confusion.sum(0), confusion.sum(1), confusion.diagonal())


def iou_of_areas(predicted: Any, true: Any, common: Any) -> Tensor:
    """Return the intersection over union of masks in float64, from their areas and the area of their intersection.

    predicted, true, common: numbers or arrays of one shape, in any unit. The result is NaN where both areas are 0.
    Raises PellucidError for negative areas, and for a common area that is larger than one of the two.
    """
    predicted, true, common = (torch.as_tensor(area).double() for area in (predicted, true, common))
    if not bool(((common >= 0) & (common <= predicted.minimum(true))).all()):  # NaN raises the error too
        raise PellucidError("iou: the common area must be at least 0 and at most each of the two areas")
    return common / (predicted + true - common)


def read_masks(metric: Metric, outputs: Tensor, targets: Tensor, ignore: int | None) -> tuple[Tensor, Tensor]:
    """Return the predicted classes, and the mask of pixels that are not of class `ignore`, both (N, H, W).

    Raises PellucidError for outputs and masks of incompatible shapes, and for masks that are not integers.
    """
    is_integer = not (targets.is_floating_point() or targets.dtype is torch.bool)
    if outputs.dim() != 4 or not is_integer or targets.shape != (len(outputs), *outputs.shape[2:]):
        raise PellucidError(
            f"{type(metric).__name__}: outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)} do not "
            "fit; give outputs (N, C, H, W) and masks of integer classes (N, H, W)"
        )
    scored_mask = torch.ones_like(targets, dtype=torch.bool) if ignore is None else targets != ignore
    return outputs.max(1).indices, scored_mask  # as argmax, which takes 4 times as long over this axis


def _boundary_masks(mask: Tensor, scored_mask: Tensor, classes: int) -> Tensor:
    """Return, for each class, a mask of the pixels of a class mask (H, W) that are on its boundary, (classes, H, W)."""
    is_edge = torch.zeros_like(scored_mask)
    for axis in (0, 1):
        first, second = (slice(None),) * axis + (slice(0, -1),), (slice(None),) * axis + (slice(1, None),)
        differs = (mask[first] != mask[second]) & scored_mask[first] & scored_mask[second]
        is_edge[first] |= differs
        is_edge[second] |= differs
    return (mask == torch.arange(classes, device=mask.device)[:, None, None]) & is_edge


def _dilate(mask: Tensor, radius: float) -> Tensor:
    """Return a mask of the pixels whose distance from a True pixel of `mask` (C, H, W) is at most `radius`."""
    margin = int(radius)
    padded = torch.nn.functional.pad(mask, (margin, margin, margin, margin))
    height, width = mask.shape[1:]
    dilated = torch.zeros_like(mask)
    for row_shift in range(-margin, margin + 1):
        for column_shift in range(-margin, margin + 1):
            if row_shift**2 + column_shift**2 <= radius**2:
                top, left = margin + row_shift, margin + column_shift
                dilated |= padded[:, top : top + height, left : left + width]
    return dilated
