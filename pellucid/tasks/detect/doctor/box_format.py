"""Check for boxes that are read in the wrong unit or order, such as (x, y, width, height) read as corners."""

from collections.abc import Callable

from pellucid.data.annotations.base import BOX_TOLERANCE, BoxCorners
from pellucid.doctor.finding import Check, Evidence, Finding
from pellucid.tasks.detect.doctor.case import DetectionCase

MAX_INVALID = 0.1  # fraction of boxes that are not valid in their images, up to which the format counts as right
MIN_VALID = 0.98  # fraction of boxes that are valid in another format, from which it counts as the right one
MIN_BOXES = 10

ImageSize = tuple[int, int]
# Conversions of boxes to corners (x0, y0, x1, y1), by the format in which the boxes were written.
CONVERSIONS: dict[str, Callable[[BoxCorners, ImageSize], BoxCorners]] = {
    "x, y, width, height": lambda b, size: (b[0], b[1], b[0] + b[2], b[1] + b[3]),
    "x and y of the centre, width, height": lambda b, size: (
        b[0] - b[2] / 2, b[1] - b[3] / 2, b[0] + b[2] / 2, b[1] + b[3] / 2,
    ),
    "corners that were taken for x, y, width, height": lambda b, size: (b[0], b[1], b[2] - b[0], b[3] - b[1]),
    "y before x": lambda b, size: (b[1], b[0], b[3], b[2]),
}  # fmt: skip


def find(case: DetectionCase) -> list[Finding]:
    """Count the boxes that are valid in their images, as they were read and converted from other formats."""
    boxes = case.raw_boxes
    if len(boxes) < MIN_BOXES:
        return []
    n_relative = sum(max(map(abs, box)) <= 1 for box, _ in boxes)
    if n_relative >= MIN_VALID * len(boxes):
        evidence: Evidence = {"boxes": len(boxes), "between_zero_and_one": n_relative}
        cause = "the boxes are relative to the image's width and height, but are read as pixels"
        fix = "multiply them by the size of their image, or name the format (YOLO text files have relative boxes)"
        return [Finding(NAME, "train", evidence, cause, fix)]
    n_invalid = sum(not _is_valid(box, size) for box, size in boxes)
    if n_invalid <= MAX_INVALID * len(boxes):
        return []
    n_valid = {
        name: sum(_is_valid(convert(box, size), size) for box, size in boxes) for name, convert in CONVERSIONS.items()
    }
    name = max(n_valid, key=lambda name: n_valid[name])
    if n_valid[name] < MIN_VALID * len(boxes):
        return []
    evidence = {
        "boxes": len(boxes),
        "impossible_in_their_images": n_invalid,
        "they_look_like": name,
        "possible_if_read_so": n_valid[name],
    }
    cause = "the boxes are written in another order than they are read in"
    fix = "write them as x0, y0, x1, y1 (COCO files: x, y, width, height), or correct the program that reads them"
    return [Finding(NAME, "train", evidence, cause, fix)]


def _is_valid(box: BoxCorners, size: ImageSize) -> bool:
    """Return whether corners (x0, y0, x1, y1) are a valid box in an image of this size (H, W)."""
    x0, y0, x1, y1 = box
    height, width = size
    inside = min(x0, y0) >= -BOX_TOLERANCE and x1 <= width + BOX_TOLERANCE and y1 <= height + BOX_TOLERANCE
    return x0 < x1 and y0 < y1 and inside


NAME = "box-format"
CHECK = Check(NAME, find, explains=("unfitting-anchors", "no-positives", "score-collapse"), finds_faults=True)
