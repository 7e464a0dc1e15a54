"""The format of the annotations in a folder or a .zip, and the parts that they are in."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pellucid.data.annotations import coco, labelme, voc, yolo
from pellucid.data.annotations.base import Annotations
from pellucid.data.tree import HELD_OUT, TRAIN, Tree
from pellucid.errors import PellucidError, nearest


@dataclass(frozen=True)
class Format:
    """A format of annotations.

    parts: finds its files in a tree, by their parts. read: reads those of one part. write: writes annotations by their
    parts into a folder, where image_path says the place of each image. holds: what it can, of "masks", "keypoints" and
    "crowd".
    """

    parts: Callable[[Tree], dict[str, tuple[str, ...]]]
    read: Callable[[Tree, Sequence[str], Sequence[str] | None], Annotations]
    write: Callable[[Mapping[str, Annotations], Path], None]
    image_path: Callable[[str, str], str]
    holds: frozenset[str]


FORMATS: Mapping[str, Format] = {
    name: Format(each.parts, each.read, each.write, each.image_path, each.HOLDS)
    for name, each in (("voc", voc), ("coco", coco), ("labelme", labelme), ("yolo", yolo))
}


def find_format(tree: Tree) -> tuple[str, dict[str, tuple[str, ...]]]:
    """Return the name of the format of a tree's annotations, and its files by part; ("", {}) where there are none."""
    for name, form in FORMATS.items():
        if found := form.parts(tree):
            return name, found
    return "", {}


def parts_in_order(parts: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the training part and the held-out part that there are, or the one part of a set that has no training."""
    held = [part for part in HELD_OUT if part in parts]
    return [TRAIN, *held[:1]] if TRAIN in parts else [*parts][:1]


def read_annotations(tree: Tree, part: str = "", classes: Sequence[str] | None = None) -> Annotations:
    """Return the annotations of one part of a tree.

    part: "" where there is one only, or the file of COCO annotations. classes: see the readers; by default those of the
    training part where there is one. Raises PellucidError for a tree without annotations or without this part.
    """
    form, parts = find_format(tree)
    if not form:
        raise PellucidError(
            f"{tree.path} holds no annotations; give a folder of Pascal VOC, COCO, YOLO or labelme annotations and "
            "their images"
        )
    if any(part in files for files in parts.values()):
        parts = {part: (part,)}
    if not part and len(parts) == 1:
        part = next(iter(parts))
    if part not in parts:
        known = ", ".join(repr(one) for one in parts)
        raise PellucidError(f"{tree.path} has no part {part!r}{nearest(part, parts)}; it has {known:.200}")
    read = FORMATS[form].read
    if classes is None and part != TRAIN and TRAIN in parts:
        classes = read(tree, parts[TRAIN], None).classes
    return read(tree, parts[part], classes)
