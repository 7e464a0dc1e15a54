"""Metrics of detected objects and key-points, image by image."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.text import plural
from pellucid.metrics.base import Metric, check_measured
from pellucid.metrics.coco import Coco
from pellucid.metrics.overlaps import box_overlaps
from pellucid.ops.image_objects import Detections, Objects

N_FACE_POINTS = 68
OUTER_EYE_CORNERS = (36, 45)  # the outer eye corners of the 68 points of a face (Sagonas et al. 2013), counted from 0
_NAME_PREFIXES = {"boxes": "", "masks": "mask_", "keypoints": "keypoint_"}


@dataclass
# pycocotools and faster-coco-eval give the same figure to nine digits, in 1.05 and 0.17 s for 1,000 images, for which
# the network needs 37 s. This code takes 1.20 s, and is what the lesson explains.
class AveragePrecision(Metric):
    """COCO's average precision of detections: averaged over the IoU thresholds 0.5, 0.55, ..., 0.95, and at 0.5 only.

    Outputs are a list of `Detections`, targets a list of `Objects`. The areas of objects are computed from their masks,
    or from their boxes without masks.
    kind: "boxes", "masks" or "keypoints" (of COCO's persons).
    """

    kind: str = "boxes"
    coco: Coco = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Raise PellucidError for an unknown kind."""
        self.coco = Coco(self.kind)

    def update(self, outputs: Sequence[Detections], targets: Sequence[Objects]) -> None:
        """Compare the detections of a batch with the objects."""
        for detections, truth in _pairs_by_image(self, outputs, targets):
            self.coco.add(detections, truth)

    def merge(self, other: Any) -> None:
        """Append the images of a metric that was updated with other batches."""
        self.coco.images += other.coco.images

    def compute(self) -> dict[str, Any]:
        """Return "ap" and "ap50", from 0 to 1 or NaN without objects, and "class_ap", a list with the AP of each class.

        The AP of a class without objects is None. The names begin with "mask_" for masks and with "keypoint_" for
        key-points.
        """
        check_measured(len(self.coco.images), self)
        by_class = self.coco.by_class()
        prefix = _NAME_PREFIXES[self.kind]
        return {
            **{f"{prefix}{name}": value for name, value in self.coco.figures(names=("ap", "ap50")).items()},
            f"{prefix}class_ap": [by_class.get(label) for label in range(max(by_class, default=-1) + 1)],
        }


@dataclass
class MaskAveragePrecision(AveragePrecision):
    """COCO's average precision of instance masks."""

    kind: str = "masks"


@dataclass
class KeypointAveragePrecision(AveragePrecision):
    """COCO's average precision of the 17 key-points of persons."""

    kind: str = "keypoints"


@dataclass
class NME(Metric):
    """The normalized mean error of key-points: their mean distance from the true points, divided by a true distance.

    Outputs are a tensor (N, K, 2) or (N, K, 3) of pixels for images of one object each, or a list of `Detections`; then
    each object is compared with the detection whose box has the largest IoU with its box. Targets are a list of
    `Objects`, or key-points (N, K, 3) if the outputs are a tensor. The mean is over the labelled points of an object,
    then over the objects, except crowds.
    normalise: the indices of the two true points whose distance is the divisor. By default, these are the outer eye
        corners for the 68 points of a face; for other numbers of points, the divisor is the diagonal of the box around
        the true points. Objects whose divisor is 0 or unknown, such as those with one labelled point, are left out and
        counted.
    Source: Sagonas et al. 2013, "300 Faces in-the-Wild Challenge".
    """

    lower_is_better: ClassVar[bool] = True
    sums: ClassVar[tuple[str, ...]] = ("images", "total", "count", "missed", "left_out")

    normalise: tuple[int, int] | None = None
    images: int = field(default=0, init=False)
    total: float = field(default=0.0, init=False)
    count: int = field(default=0, init=False)
    missed: int = field(default=0, init=False)
    left_out: int = field(default=0, init=False)

    def update(self, outputs: Tensor | Sequence[Detections], targets: Tensor | Sequence[Objects]) -> None:
        """Add the objects of a batch."""
        self.images += len(targets)
        if isinstance(targets, Tensor) and isinstance(outputs, Tensor) and outputs.dim() == targets.dim() == 3:
            check_points(outputs, targets, self.normalise)
            can_measure = self._measurable(targets)
            self._add([normalised_errors(outputs[can_measure], targets[can_measure], self.normalise)])
            return
        errors: list[Tensor] = []
        for predicted, objects in _pairs_by_image(self, outputs, targets):
            truth = objects if objects.crowd is None else objects.take(~objects.crowd)
            if not len(truth):
                continue
            if truth.keypoints is None:
                raise PellucidError("NME: the objects of an image have no key-points; give them")
            points, is_matched = _matched_points(predicted, truth)
            if points.dim() == 3:
                check_points(points, truth.keypoints, self.normalise)
            can_measure = self._measurable(truth.keypoints)
            self.missed += int((can_measure & ~is_matched).sum())
            can_measure &= is_matched
            if not bool(can_measure.any()):
                continue
            errors.append(normalised_errors(points[can_measure], truth.keypoints[can_measure], self.normalise))
        self._add(errors)

    def _measurable(self, truth: Tensor) -> Tensor:
        """Return which objects can be measured, (n,), and count the others."""
        can_measure = measurable(truth, self.normalise)
        self.left_out += int((~can_measure).sum())
        return can_measure

    def _add(self, errors: Sequence[Tensor]) -> None:
        """Add the errors of a batch, summed first, so that rounding is the same as after `merge`."""
        self.total += sum(float(error.sum()) for error in errors)
        self.count += sum(map(len, errors))

    def compute(self) -> dict[str, Any]:
        """Return "nme", NaN without objects, "nme_missed", the fraction of objects without a detection, "nme_left_out".

        The last is the number of objects that cannot be measured. Raises PellucidError if there are only such objects.
        """
        check_measured(self.images, self)
        objects = self.count + self.missed
        if self.left_out:
            check_measurable(objects, self.left_out, self.normalise)
        return {
            "nme": self.total / self.count if self.count else math.nan,
            "nme_missed": self.missed / objects if objects else math.nan,
            "nme_left_out": self.left_out,
        }


def normalizing_points(metrics: Iterable[Any]) -> tuple[int, int] | None:
    """Return `NME.normalise` of the NME among a model's metrics; None if it is the default or there is no NME."""
    point_pairs = (getattr(metric, "normalise", None) for metric in metrics)
    return next((points for points in point_pairs if points is not None), None)


def normalised_errors(points: Tensor, truth: Tensor, normalise: tuple[int, int] | None = None) -> Tensor:
    """Return the normalized mean error of each object, (n,), see `NME`; all of them must be `measurable`.

    points: (n, K, 2) or more columns. truth: (n, K, 3) with visibility. normalise: see `NME`. Raises PellucidError if
    the numbers of points differ.
    """
    check_points(points, truth, normalise)
    true_points = truth[:, :, :2].double()
    labelled = truth[:, :, 2] > 0
    distances = (points[:, :, :2].double() - true_points).norm(dim=2) * labelled
    return distances.sum(1) / labelled.sum(1) / _divisors(truth, normalise)


def measurable(truth: Tensor, normalise: tuple[int, int] | None = None) -> Tensor:
    """Return whether the error of each object (n, K, 3) has a divisor above 0, (n,); normalise: see `NME`."""
    return _divisors(truth, normalise) > 0


def check_measurable(count: int, left_out: int, normalise: tuple[int, int] | None = None) -> None:
    """Raise PellucidError if no object is measured; count, left_out: the numbers of objects."""
    if not count:
        face = " (of a face, the outer eye corners)" if normalise is None else ""
        raise PellucidError(
            f"NME: no object can be measured, since none of the {left_out:,} has {required_points(normalise)}{face}; "
            "label these points, or give NME(normalise=(i, j)) for two other ones"
        )


def required_points(normalise: tuple[int, int] | None) -> str:
    """Return in words which points an object needs to be `measurable`."""
    if normalise is None:
        return "two labelled key-points at different positions"
    return f"labelled key-points {normalise[0]} and {normalise[1]} at different positions"


def default_normalizing_points(points: int) -> tuple[int, int] | None:
    """Return `NME.normalise` for a number of points where it is None: the outer eye corners of a face, or None."""
    return OUTER_EYE_CORNERS if points == N_FACE_POINTS else None


def check_points(points: Tensor, truth: Tensor, normalise: tuple[int, int] | None) -> None:
    """Raise PellucidError unless outputs and objects have equally many points, among them those of `normalise`."""
    normalise = default_normalizing_points(truth.shape[1]) if normalise is None else normalise
    if points.shape[:2] != truth.shape[:2] or (normalise is not None and max(normalise) >= truth.shape[1]):
        normalization = "" if normalise is None else f", normalized by the points {normalise[0]} and {normalise[1]}"
        raise PellucidError(
            f"NME: outputs have {points.shape[1]} key-points and objects {truth.shape[1]}{normalization}; "
            "give equal numbers, or NME(normalise=(i, j)) for other points"
        )


def _divisors(truth: Tensor, normalise: tuple[int, int] | None) -> Tensor:
    """Return the divisor of each object's NME, (n,), 0 where the points that define it are not labelled."""
    points = truth[:, :, :2].double()
    labelled = truth[:, :, 2] > 0
    normalise = default_normalizing_points(truth.shape[1]) if normalise is None else normalise
    if normalise is not None:
        first, second = normalise
        return (points[:, first] - points[:, second]).norm(dim=1) * (labelled[:, first] & labelled[:, second])
    unlabelled = ~labelled[:, :, None]
    extent = points.masked_fill(unlabelled, -math.inf).amax(1) - points.masked_fill(unlabelled, math.inf).amin(1)
    return extent.norm(dim=1).where(labelled.any(1), 0.0)


def _pairs_by_image(metric: Metric, outputs: Any, targets: Any) -> list[tuple[Any, Objects]]:
    """Return (output, objects) of each image; raise PellucidError for other types, or different numbers of images."""
    name = type(metric).__name__
    if not isinstance(targets, list | tuple) or not all(isinstance(truth, Objects) for truth in targets):
        raise PellucidError(f"{name}: targets must be a list of Objects, one per image; give data with boxes")
    are_points = isinstance(metric, NME) and isinstance(outputs, Tensor) and outputs.dim() == 3
    are_detections = isinstance(outputs, list | tuple) and all(isinstance(output, Detections) for output in outputs)
    if not (are_points or are_detections) or len(outputs) != len(targets):
        accepted_types = "a list of Detections, one per image" + (
            ", or key-points (N, K, 2)" if isinstance(metric, NME) else ""
        )
        raise PellucidError(f"{name}: outputs must be {accepted_types}, for {plural(len(targets), 'image')}")
    return list(zip(outputs, targets, strict=True))


def _matched_points(predicted: Detections | Tensor, truth: Objects) -> tuple[Tensor, Tensor]:
    """Return for each object the points of the detection with the largest IoU, and whether there is such a detection.

    The shapes are (m, K, 2 or 3) and (m,).
    """
    if isinstance(predicted, Tensor):
        if len(truth) != 1:
            raise PellucidError(f"NME: an image has {len(truth)} objects, but outputs are for one; give Detections")
        return predicted[None], torch.ones(1, dtype=torch.bool)
    if not len(predicted):
        return torch.zeros_like(truth.boxes), torch.zeros(len(truth), dtype=torch.bool)
    if predicted.keypoints is None:
        raise PellucidError("NME: the detections of an image have no key-points; give them")
    iou, best_detection = box_overlaps(predicted, truth).max(0)
    return predicted.keypoints[best_detection], iou > 0
