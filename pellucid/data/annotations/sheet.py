"""A contact sheet of annotated images."""

from collections.abc import Sequence
from pathlib import PurePosixPath

from pellucid.data.detection import DetectionFolder
from pellucid.report.figures.objects import Marks, sheet_of_objects
from pellucid.report.figures.style import Plot
from pellucid.text import plural

IMAGES = 12


def contact_sheet(parts: Sequence[DetectionFolder]) -> tuple[Plot, list[str]]:
    """Return at most IMAGES images of the parts of a set, evenly chosen, drawn with their objects, and their names."""
    every = [(part, k) for part in parts for k in range(len(part))]
    count, source = min(IMAGES, len(every)), parts[0]
    chosen = [every[k * len(every) // count] for k in range(count)]
    examples = [part.example(k) for part, k in chosen]
    names, classes = [part.names[k] for part, k in chosen], source.classes or ()
    marks: list[Marks] = []
    for _, one in examples:  # with masks, colours are not those of classes
        texts = [classes[k] for k in one.labels.tolist()] if one.masks is not None and len(classes) > 1 else []
        marks.append(Marks(one.boxes, one.labels, one.masks, one.keypoints, one.crowd, texts))
    counts = [plural(len(one), "object") for _, one in examples]
    titles = [f"{PurePosixPath(name).name}: {many}" for name, many in zip(names, counts, strict=True)]
    return sheet_of_objects([image.numpy() / 255 for image, _ in examples], marks, titles, classes), names
