"""Formats of annotations: find the format of a folder or .zip, and read its parts."""

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

    parts: returns the files of this format in a tree, by part. read: reads the files of one part. write: writes
    annotations, by part, into a folder. image_path: returns the path of an image in that folder, from its part and file
    name. holds: the subset of "masks", "keypoints" and "crowd" that the format can store.
    """

    parts: Callable[[Tree], dict[str, tuple[str, ...]]]
    read: Callable[[Tree, Sequence[str], Sequence[str] | None], Annotations]
    write: Callable[[Mapping[str, Annotations], Path], None]
    image_path: Callable[[str, str], str]
    holds: frozenset[str]


FORMATS: Mapping[str, Format] = {
    name: Format(module.parts, module.read, module.write, module.image_path, module.HOLDS)
    for name, module in (("voc", voc), ("coco", coco), ("labelme", labelme), ("yolo", yolo))
}


def find_format(tree: Tree) -> tuple[str, dict[str, tuple[str, ...]]]:
    """Return the name of the format of a tree's annotations and its files by part; ("", {}) without annotations."""
    for name, form in FORMATS.items():
        if found := form.parts(tree):
            return name, found
    return "", {}


def parts_in_order(parts: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the training part and the first held-out part, if any; without a training part, the first part only."""
    held_out = [part for part in HELD_OUT if part in parts]
    return [TRAIN, *held_out[:1]] if TRAIN in parts else [*parts][:1]


def read_annotations(tree: Tree, part: str = "", classes: Sequence[str] | None = None) -> Annotations:
    """Return the annotations of one part of a tree.

    part: the name of a part, "" if there is only one, or the path of one annotation file. classes: the allowed class
    names, indexed by label; by default those of the training part if there is one. Raises PellucidError for a tree
    without annotations or without this part.
    """
    form, parts = find_format(tree)
    if not form:
        raise PellucidError(
            f"{tree.path} contains no annotations; give a folder of Pascal VOC, COCO, YOLO or labelme annotations and "
            "their images"
        )
    if any(part in files for files in parts.values()):
        parts = {part: (part,)}
    if not part and len(parts) == 1:
        part = next(iter(parts))
    if part not in parts:
        available = ", ".join(map(repr, parts))
        raise PellucidError(f"{tree.path} has no part {part!r}{nearest(part, parts)}; it has {available:.200}")
    read = FORMATS[form].read
    if classes is None and part != TRAIN and TRAIN in parts:
        classes = read(tree, parts[TRAIN], None).classes
    return read(tree, parts[part], classes)
