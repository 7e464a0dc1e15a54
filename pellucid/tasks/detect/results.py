"""The results of a detector on images: COCO's metrics with intervals, classes, errors and groups of objects."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.metrics.coco import Coco
from pellucid.metrics.error_split import ErrorGain, RecallCounts, confusion, error_split, recall_by_group
from pellucid.metrics.overlaps import PERSON_SIGMAS
from pellucid.ops.image_objects import Detections, Objects
from pellucid.tasks.detect.thresholds import MIN_SCORE

INTERVAL_METRICS = ("ap", "ap50")
RESAMPLES = 500  # resamples of the images for the bootstrap intervals


@dataclass(frozen=True)
class Results:
    """The metrics of the boxes in n images, and of their masks or key-points if all objects have them.

    objects: the number of objects. figures: COCO's metrics of the boxes. intervals: 95 % bootstrap intervals over the
    images, by metric. masks, keypoints: COCO's metrics of masks and of key-points, or None; for key-points with the
    standard deviations of COCO's persons. by_class: name, number of objects, AP and AP50 of each class. curves: the
    precision of each class at COCO's 101 recalls, for an IoU of 0.5. base_ap50: AP50. gains: the gain in AP50 if all
    errors of one kind were repaired. confusion: counts[true, detected] of detections with a score of at least `score`,
    background last. recall_groups: the recall of objects by size and crowding, for the same detections.
    """

    classes: tuple[str, ...]
    n: int
    objects: int
    score: float
    figures: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    masks: dict[str, float] | None
    keypoints: dict[str, float] | None
    by_class: list[tuple[str, int, float, float]]
    curves: dict[str, Tensor]
    base_ap50: float
    gains: dict[str, ErrorGain]
    confusion: Tensor
    recall_groups: dict[str, dict[str, RecallCounts]]

    @property
    def other_metrics(self) -> dict[str, dict[str, float]]:
        """The metrics of masks and key-points, by "mask" and "keypoint"."""
        parts = {"mask": self.masks, "keypoint": self.keypoints}
        return {name: figures for name, figures in parts.items() if figures is not None}

    def to_json(self) -> dict[str, Any]:
        """Return {"ap", "ap50", ..., "n"}; with masks {"box_ap", ..., "mask_ap", ...}, with key-points accordingly."""
        box_prefix = "box_" if self.other_metrics else ""
        return {
            **{f"{box_prefix}{name}": value for name, value in self.figures.items()},
            **{
                f"{kind}_{name}": value
                for kind, figures in self.other_metrics.items()
                for name, value in figures.items()
            },
            **{f"{box_prefix}{name}_interval": list(pair) for name, pair in self.intervals.items()},
            "n": self.n,
            "objects": self.objects,
            "classes": [
                {"class": name, "objects": count, "ap": ap, "ap50": ap50} for name, count, ap, ap50 in self.by_class
            ],
            "errors": {kind: gain._asdict() for kind, gain in self.gains.items()},
        }


def measure(
    detections: Sequence[Detections],
    objects: Sequence[Objects],
    classes: Sequence[str],
    areas: Sequence[Tensor] | None = None,
    score: float = MIN_SCORE,
) -> Results:
    """Compare the detections in images with the objects.

    areas: of the objects in each image, see `Coco.add`. score: the minimum score of a detection that counts in the
    confusion matrix and in the recall of groups. Raises PellucidError if there are no images, or if `detections` and
    `objects` have different lengths.
    """
    if not objects or len(objects) != len(detections):
        raise PellucidError(
            f"detections of {len(detections)} images cannot be compared with objects of {len(objects)}; give the same "
            "number, at least 1"
        )
    boxes = coco_evaluation("boxes", detections, objects, areas)
    counts = boxes.counts()
    aps, ap50s = boxes.by_class("ap"), boxes.by_class("ap50")
    base_ap50, gains = error_split(detections, objects)
    return Results(
        classes=tuple(classes),
        n=len(objects),
        objects=sum(counts.values()),
        score=score,
        figures=boxes.figures(),
        intervals=boxes.intervals(INTERVAL_METRICS, RESAMPLES),
        masks=metrics_of_kind("masks", detections, objects, areas),
        keypoints=metrics_of_kind("keypoints", detections, objects, areas),
        by_class=[(classes[label], counts[label], aps[label], ap50s[label]) for label in counts],
        curves={classes[label]: boxes.curves(label, limit=100).precision[0] for label in counts},
        base_ap50=base_ap50,
        gains=gains,
        confusion=confusion(detections, objects, len(classes), score),
        recall_groups=recall_by_group(detections, objects, score),
    )


def metrics_of_kind(
    kind: str, detections: Sequence[Detections], objects: Sequence[Objects], areas: Sequence[Tensor] | None = None
) -> dict[str, float] | None:
    """Return the metrics of masks or key-points; None unless all objects and the detections in all images have them."""
    non_empty_images = [*detections, *(image_objects for image_objects in objects if len(image_objects))]
    if not any(len(image_objects) for image_objects in objects) or any(
        getattr(image_values, kind) is None for image_values in non_empty_images
    ):
        return None
    keypoint_counts = {
        image_values.keypoints.shape[1] for image_values in non_empty_images if image_values.keypoints is not None
    }
    if kind == "keypoints" and keypoint_counts != {len(PERSON_SIGMAS)}:
        return None
    return coco_evaluation(kind, detections, objects, areas).figures()


def coco_evaluation(
    kind: str, detections: Sequence[Detections], objects: Sequence[Objects], areas: Sequence[Tensor] | None = None
) -> Coco:
    """Return COCO's evaluation of "boxes", "masks" or "keypoints"; areas: see `measure`."""
    evaluation = Coco(kind)
    for k, (image_detections, image_objects) in enumerate(zip(detections, objects, strict=True)):
        evaluation.add(image_detections, image_objects, None if areas is None else areas[k])
    return evaluation


def percent_cell(value: float | None) -> str:
    """Return a fraction in per cent as text for a table, such as "97.9"; "-" for None and NaN."""
    return "-" if value is None or value != value else f"{100 * value:.1f}"  # noqa: PLR0124 (NaN)
