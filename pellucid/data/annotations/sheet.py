"""A contact sheet of annotated images."""

from collections.abc import Sequence
from pathlib import PurePosixPath

from pellucid.data.detection import DetectionFolder
from pellucid.report.figures.objects import Marks, sheet_of_objects
from pellucid.report.figures.style import Plot
from pellucid.text import plural

MAX_IMAGES = 12


def contact_sheet(parts: Sequence[DetectionFolder]) -> tuple[Plot, list[str]]:
    """Return a figure of up to MAX_IMAGES images, drawn with their objects, and the images' names.

    The images are evenly spaced in the data set.
    """
    candidates = [(part, k) for part in parts for k in range(len(part))]
    n, source = min(MAX_IMAGES, len(candidates)), parts[0]
    chosen = [candidates[k * len(candidates) // n] for k in range(n)]
    examples = [part.example(k) for part, k in chosen]
    names, classes = [part.names[k] for part, k in chosen], source.classes or ()
    marks: list[Marks] = []
    for _, objects in examples:  # colours show objects, not classes, if there are masks: add the class names
        texts = [classes[k] for k in objects.labels.tolist()] if objects.masks is not None and len(classes) > 1 else []
        marks.append(Marks(objects.boxes, objects.labels, objects.masks, objects.keypoints, objects.crowd, texts))
    counts = [plural(len(objects), "object") for _, objects in examples]
    titles = [f"{PurePosixPath(name).name}: {count}" for name, count in zip(names, counts, strict=True)]
    return sheet_of_objects([image.numpy() / 255 for image, _ in examples], marks, titles, classes), names
