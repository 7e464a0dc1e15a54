"""A contact sheet of annotated images."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from torch import Tensor

from pellucid.base.text import plural
from pellucid.data.annotations.base import ImageRecord
from pellucid.data.detection import DetectionFolder
from pellucid.data.files import resized_size
from pellucid.ops.image_objects import Objects
from pellucid.report.figures.objects import Marks, sheet_of_objects
from pellucid.report.figures.style import Plot

MAX_IMAGES = 12
MAX_DRAWN_OBJECTS = 100  # in one image
DRAWN_SIDE = 600  # pixels of an image's longest side, about its size in the figure


def contact_sheet(parts: Sequence[DetectionFolder]) -> tuple[Plot, list[str]]:
    """Return a figure of up to MAX_IMAGES images, drawn with their objects, and the images' names.

    The images are evenly spaced in the data set. At most the first MAX_DRAWN_OBJECTS objects of an image are drawn.
    """
    candidates = [(part, k) for part in parts for k in range(len(part))]
    n_images, first_part = min(MAX_IMAGES, len(candidates)), parts[0]
    selected_images = [candidates[k * len(candidates) // n_images] for k in range(n_images)]
    examples = [_example(part, part.records[k]) for part, k in selected_images]
    names, classes = [part.names[k] for part, k in selected_images], first_part.classes or ()
    marks: list[Marks] = []
    for _, objects in examples:  # with masks, colours distinguish objects, not classes: add class names
        texts = [classes[k] for k in objects.labels.tolist()] if objects.masks is not None and len(classes) > 1 else []
        marks.append(
            Marks(objects.boxes, objects.labels, objects.masks, objects.keypoints, dashed=objects.crowd, texts=texts)
        )
    object_counts = [len(part.records[k].instances) for part, k in selected_images]
    count_texts = [
        plural(count, "object") + (f", {MAX_DRAWN_OBJECTS} drawn" if count > MAX_DRAWN_OBJECTS else "")
        for count in object_counts
    ]
    titles = [f"{PurePosixPath(name).name}: {count_text}" for name, count_text in zip(names, count_texts, strict=True)]
    return sheet_of_objects([image.numpy() / 255 for image, _ in examples], marks, titles, classes), names


def _example(part: DetectionFolder, record: ImageRecord) -> tuple[Tensor, Objects]:
    """Return a record's image, at most DRAWN_SIDE pixels high and wide, and its first MAX_DRAWN_OBJECTS objects."""
    shortened = replace(record, instances=record.instances[:MAX_DRAWN_OBJECTS])
    return part.example_of(shortened, resized_size(record.size, min(DRAWN_SIDE, max(record.size))))
