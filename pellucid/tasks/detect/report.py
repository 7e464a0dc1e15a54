"""The section of a detector's report: the worst images with their annotated and detected objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from pellucid.data import float_images
from pellucid.data.seeds import generator
from pellucid.metrics import AveragePrecision
from pellucid.report.figures.curves import score_curves
from pellucid.report.figures.objects import Marks, sheet_of_objects
from pellucid.report.sections import FigurePart, Section
from pellucid.task import Reported
from pellucid.tasks.detect.score_choice import every_second, score_curve_on
from pellucid.tasks.detect.thresholds import score_of

if TYPE_CHECKING:
    from pellucid.data import Source
    from pellucid.model import Model
    from pellucid.ops.image_objects import Detections, Objects

MAX_IMAGES = 8  # number of images in a report


@dataclass(frozen=True)
class WorstObjects:
    """The images with the lowest average precision, worst first.

    images: (1 or 3, H, W) each, values 0..1. marks: for each image the annotated boxes, dashed, and the detected boxes
    with their scores. ap: the average precision of each image at an IoU of 0.5. file_names: of the images.
    """

    images: Sequence[NDArray[np.float32]]
    marks: Sequence[Marks]
    ap: Sequence[float]
    file_names: Sequence[str]


def report(model: Model, test: Source) -> Reported:
    """Return the section of the test images with the lowest average precision."""
    results = find_worst_images(model, test)
    titles = [f"{name}: {ap:.2f}" for name, ap in zip(results.file_names, results.ap, strict=True)]
    plot = (
        sheet_of_objects(results.images, results.marks, titles, tuple(test.classes or ())) if results.images else None
    )
    caption = (
        f"The {len(results.ap)} test images with the lowest average precision (at an IoU of 0.5), which is written "
        "above each. Dashed: annotated boxes; solid: detected ones with scores of at least "
        f"{score_of(model):.2g}."
    )
    alt, otherwise = "The images with the lowest average precision", "No test image has objects."
    figure = FigurePart("objects", plot, alt, caption, otherwise)
    return Reported([Section("mistakes", "Worst mistakes", [figure], wide=True), _score_section(model, test)])


def _score_section(model: Model, test: Source) -> Section:
    """Return the section with F1, precision and recall on the test images by the minimum score."""
    curve, min_score = score_curve_on(model, every_second(test, 1)), score_of(model)
    caption = (
        "Precision, recall and their harmonic mean, F1, at an IoU of 0.5, of the detections with at least this score "
        "on every second test image; none of these chose the score. Commands show detections from "
        f"{min_score:.2f} on (dotted); --score changes that."
    )
    plot = score_curves(curve.scores.tolist(), {
        "precision": curve.precision.tolist(), "recall": curve.recall.tolist(), "F1": curve.f1.tolist(),
    }, min_score)  # fmt: skip
    return Section("score", "From which score on", [
        FigurePart("score", plot, "F1, precision and recall by the minimum score", caption, "Nothing was detected.")
    ])  # fmt: skip


def find_worst_images(model: Model, test: Source, max_images: int = MAX_IMAGES) -> WorstObjects:
    """Detect the objects in each image, and return the `max_images` images with the lowest average precision.

    Images without annotated objects are left out.
    """
    file_names: Sequence[str] = getattr(test, "names", ())
    rated_images: list[tuple[float, int, Detections, Objects]] = []
    for k in range(len(test)):
        images, (objects,) = test.batch([k], generator(0))
        (detections,) = model.predict(images)
        if len(objects):
            metric = AveragePrecision()
            metric.update([detections], [objects])
            rated_images.append((metric.compute()["ap50"], k, detections, objects))
    worst_images = sorted(rated_images, key=lambda rated: rated[:2])[:max_images]  # by average precision, then by index
    return WorstObjects(
        [float_images(test.batch([k], generator(0)).images)[0].numpy() for _, k, _, _ in worst_images],
        [_marks(detections, objects, score_of(model)) for _, _, detections, objects in worst_images],
        [ap for ap, _, _, _ in worst_images],
        [file_names[k] if file_names else f"image {k}" for _, k, _, _ in worst_images],
    )


def _marks(detections: Detections, objects: Objects, score: float) -> Marks:
    confident_detections = detections.take(detections.scores >= score)
    is_dashed = torch.arange(len(objects) + len(confident_detections)) < len(objects)
    return Marks(
        torch.cat([objects.boxes, confident_detections.boxes]).numpy(),
        torch.cat([objects.labels, confident_detections.labels]).numpy(),
        dashed=is_dashed.numpy(),
        texts=[*[""] * len(objects), *(f"{score:.2f}" for score in confident_detections.scores.tolist())],
    )
