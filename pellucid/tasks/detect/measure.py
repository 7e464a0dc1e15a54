"""Evaluation of a detector on annotated images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from pellucid.data import DetectionFolder
from pellucid.metrics.overlaps import truth_areas
from pellucid.model import Model
from pellucid.ops.image_objects import Detections, Objects
from pellucid.tasks.annotated import held_out
from pellucid.tasks.detect.finder import ObjectFinder
from pellucid.tasks.detect.findings import DetectionFinding, findings
from pellucid.tasks.detect.page import detection_page
from pellucid.tasks.detect.pipeline import run_detector
from pellucid.tasks.detect.reasons import with_reasons
from pellucid.tasks.detect.results import Results, measure
from pellucid.tasks.detect.thresholds import score_of
from pellucid.training.distributed import ALONE, Processes

CHUNK_SIZE = 8  # images at a time


@dataclass(frozen=True, eq=False)
class DetectionEvaluation:
    """The results on annotated images. data: the folder or zip. part: its evaluated part, "" if it has no parts."""

    model: Model
    results: Results
    data: str
    part: str
    source: DetectionFolder
    detections: list[Detections]
    objects: list[Objects]

    def write_page(self, path: Path, title: str) -> None:
        """Write the page of hits, false alarms and misses, and the files of its figures."""
        source = self.source

        def findings_with_reasons(k: int) -> tuple[Detections, list[DetectionFinding]]:
            steps, score = run_detector(self.model, source.example(k)[0]), self.results.score
            image_findings = findings(steps.detections, self.objects[k], self.results.classes, score)
            return steps.detections, with_reasons(image_findings, steps, self.objects[k], score)

        detection_page(
            self.results,
            source.names,
            lambda k: source.example(k)[0].float() / 255,
            self.detections,
            self.objects,
            title,
            findings_with_reasons=findings_with_reasons,
        ).write(path)


def evaluate(model: Model, data: str | None = None, processes: Processes = ALONE) -> DetectionEvaluation:
    """Evaluate a detector on images of any size with annotations in the format of Pascal VOC, COCO and others.

    data: the name of a data set, a folder or zip, or the root of the model's own data set; None for the model's own
    data set. If it has several parts, the held-out one is used. processes: each evaluates a part of the images. Boxes
    are compared in pixels of the original images. Raises PellucidError if there are no such data, and for classes that
    the model does not have.
    """
    finder = ObjectFinder(model)
    source, part = held_out(model, data, finder.classes)
    detections: list[Detections] = []
    objects: list[Objects] = []
    areas: list[Tensor] = []

    def detect_chunk(start: int) -> tuple[list[Detections], list[Objects], list[Tensor]]:
        examples = [source.example(k) for k in range(start, min(start + CHUNK_SIZE, len(source)))]
        chunk_areas = [
            _object_areas(source.areas(start + k), image_objects) for k, (_, image_objects) in enumerate(examples)
        ]
        return (
            finder.find([image for image, _ in examples]),
            [image_objects for _, image_objects in examples],
            chunk_areas,
        )

    for chunk in processes.shared(range(0, len(source), CHUNK_SIZE), detect_chunk):
        for all_values, chunk_values in zip((detections, objects, areas), chunk, strict=True):
            cast(list[Any], all_values).extend(chunk_values)
    results = measure(detections, objects, finder.classes, areas, score_of(model))
    return DetectionEvaluation(
        model=model,
        results=results,
        data=str(source.tree.path),
        part=part,
        source=source,
        detections=detections,
        objects=objects,
    )


def _object_areas(annotated_areas: Sequence[float | None], objects: Objects) -> Tensor:
    """Return the areas of objects (n,), in pixels: as annotated, otherwise of their masks or boxes."""
    computed_areas = truth_areas(objects)
    return torch.tensor(
        [float(computed_areas[k]) if area is None else area for k, area in enumerate(annotated_areas)],
        dtype=torch.float64,
    )
