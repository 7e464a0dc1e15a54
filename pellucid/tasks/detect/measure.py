"""A detector measured on annotated images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pellucid.data import DetectionFolder
from pellucid.data.detection import scaled
from pellucid.data.images import resized
from pellucid.metrics.overlaps import truth_areas
from pellucid.model import Model
from pellucid.objects import Detections, Objects
from pellucid.report.write import write_page
from pellucid.tasks.annotated import held_out
from pellucid.tasks.detect.finder import ObjectFinder
from pellucid.tasks.detect.findings import Finding, findings
from pellucid.tasks.detect.page import detection_page
from pellucid.tasks.detect.pipeline import pipeline
from pellucid.tasks.detect.reasons import with_reasons
from pellucid.tasks.detect.results import Results, measure

CHUNK = 8  # pictures at a time
THUMBNAIL = 32  # pixels of a side, to which images are resized to compare them


@dataclass(frozen=True, eq=False)
class Measured:
    """The results on annotated images, and what they are from. data: the folder or zip. part: of it, "" for all."""

    model: Model
    results: Results
    data: str
    part: str
    source: DetectionFolder
    detections: list[Detections]
    objects: list[Objects]

    def write_page(self, path: Path, title: str) -> None:
        """Write the page of hits, false alarms and misses, and beside it its figures."""
        source = self.source

        def walked(k: int) -> tuple[Detections, list[Finding]]:
            it, score = pipeline(self.model, source.example(k)[0]), self.results.score
            found = findings(it.detections, self.objects[k], self.results.classes, score)
            return it.detections, with_reasons(found, it, self.objects[k], score)

        html, figures = detection_page(
            self.results,
            source.names,
            lambda k: source.example(k)[0].float() / 255,
            self.detections,
            self.objects,
            title,
            walked=walked,
        )
        write_page(path, html, figures)


def evaluate(model: Model, data: str | None = None) -> Measured:
    """Measure a detector on pictures of any size with annotations of Pascal VOC, COCO and others.

    data: the name of a data set, a folder or zip, or the root of the model's own data set; None: the model's own. Of
    several parts the held-out one is measured. Boxes are compared in the pictures' own pixels. Raises PellucidError
    where there are no such data, and for classes that the model does not have.
    """
    finder = ObjectFinder(model)
    path, part = held_out(model, data)
    source = DetectionFolder(path, part, classes=finder.classes)
    detections: list[Detections] = []
    objects: list[Objects] = []
    areas: list[Tensor] = []
    for start in range(0, len(source), CHUNK):
        some = [source.example(k) for k in range(start, min(start + CHUNK, len(source)))]
        detections += finder.find([image for image, _ in some])
        objects += [truth for _, truth in some]
        areas += [_areas(source.areas(start + k), truth) for k, (_, truth) in enumerate(some)]
    results = measure(detections, objects, finder.classes, areas)
    return Measured(model, results, str(path), part, source, detections, objects)


def _areas(stated: Sequence[float | None], truth: Objects) -> Tensor:
    """Return the areas of objects (n,): the stated ones, else those of the masks or boxes."""
    own = truth_areas(truth)
    return torch.tensor([float(own[k]) if area is None else area for k, area in enumerate(stated)], dtype=torch.float64)


def nearest_image(train: DetectionFolder, test: DetectionFolder) -> Results:
    """Measure the objects of the training image with the nearest pixels as detections, each with the score 1.

    Images are compared at 32 x 32 pixels; boxes and masks are stretched with the image. It is what a detector that has
    learned nothing but the layout of the images reaches.
    """
    known = torch.stack([_thumbnail(train.example(k)[0]) for k in range(len(train))])
    detections, objects = [], []
    for k in range(len(test)):
        image, truth = test.example(k)
        other, copied = train.example(int(torch.cdist(_thumbnail(image)[None], known).argmin()))
        size, new = ((one.shape[1], one.shape[2]) for one in (other, image))
        copied = scaled(copied, size, new)
        detections.append(Detections(copied.boxes, torch.ones(len(copied)), copied.labels, copied.masks))
        objects.append(truth)
    return measure(detections, objects, test.classes or ())


def _thumbnail(image: Tensor) -> Tensor:
    return resized(image, (THUMBNAIL, THUMBNAIL)).flatten().float()
