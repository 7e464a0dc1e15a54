"""Conversion of annotated images from one format to another."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pellucid.data.annotations.base import Annotations, Fault, refuse, size_fault
from pellucid.data.annotations.images import ImageIndex
from pellucid.data.annotations.layout import FORMATS, find_format, read_annotations
from pellucid.data.tree import TRAIN, Tree, open_tree
from pellucid.errors import PellucidError, nearest
from pellucid.files import make_folder, write_atomically


@dataclass(frozen=True)
class Converted:
    """Result of a conversion.

    source: the original format. images, objects: counts by part. lost: the number of objects that lost "masks",
    "keypoints" or "crowd", which the new format cannot store. faults: what is wrong with the original annotations.
    """

    source: str
    images: dict[str, int]
    objects: dict[str, int]
    lost: dict[str, int]
    faults: tuple[Fault, ...]


def convert(path: str | os.PathLike[str], out: str | os.PathLike[str], form: str) -> Converted:
    """Write the annotated images of a folder or .zip in another format, into a new or empty folder.

    form: a name in FORMATS. Objects that cannot be used are left out and listed in `faults`. Raises PellucidError for
    annotations that cannot be read, for images of another size than these state or with the same name, and unless `out`
    is new or empty.
    """
    if form not in FORMATS:
        raise PellucidError(f"no format {form!r}{nearest(form, FORMATS)}; known are {', '.join(FORMATS)}")
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PellucidError(f"{folder} is not an empty folder; give a new folder")
    target = FORMATS[form]
    with open_tree(path) as tree:
        source, parts = find_format(tree)
        names = sorted(parts, key=lambda part: part != TRAIN) or [""]  # the training part defines the classes
        found: dict[str, Annotations] = {}
        for part in names:
            first = next(iter(found.values()), None)
            found[part] = read_annotations(tree, part, None if first is None else first.classes)
            refuse(found[part].faults)
        paths = _output_paths(found, form)
        _check_sizes(tree, found)
        target.write(found, folder)
        for target_path, image in paths.items():
            make_folder((folder / target_path).parent)
            write_atomically(folder / target_path, tree.read(image), durable=False)
    faults = tuple(fault for annotations in found.values() for fault in annotations.faults)
    images = {part: len(annotations.records) for part, annotations in found.items()}
    objects = {
        part: sum(len(record.instances) for record in annotations.records) for part, annotations in found.items()
    }
    return Converted(source, images, objects, _lost(found, form), faults)


def _check_sizes(tree: Tree, found: Mapping[str, Annotations]) -> None:
    """Raise PellucidError for an image of another size than its annotations state: YOLO text would lose that size."""
    index = ImageIndex(tree)
    for annotations in found.values():
        for record in annotations.records:
            if fault := size_fault(record, index.size(record.image)):
                raise PellucidError(f"{tree.where(record.image)}: {fault}")


def _output_paths(found: Mapping[str, Annotations], form: str) -> dict[str, str]:
    """Return the image in the tree for each image path to write; PellucidError for two images with the same name."""
    paths: dict[str, str] = {}
    stems: dict[str, str] = {}
    for part, annotations in found.items():
        for record in annotations.records:
            target_path = FORMATS[form].image_path(part, PurePosixPath(record.image).name)
            stem = str(PurePosixPath(target_path).with_suffix(""))  # an annotation file has the name of its image
            if stems.setdefault(stem, record.image) != record.image:
                raise PellucidError(
                    f"{stems[stem]} and {record.image} would have the same name in {form}; rename one of them"
                )
            paths[target_path] = record.image
    return paths


def _lost(found: Mapping[str, Annotations], form: str) -> dict[str, int]:
    """Return how many objects have masks, key-points or a crowd flag that the format cannot store."""
    lost: Counter[str] = Counter()
    for annotations in found.values():
        holds = FORMATS[form].holds
        if form == "yolo" and (annotations.keypoints or not annotations.has_masks):
            holds -= {"masks"}
        for record in annotations.records:
            for instance in record.instances:
                has = {
                    "masks": instance.outline is not None, "keypoints": bool(instance.points), "crowd": instance.crowd
                }  # fmt: skip
                lost.update(name for name, present in has.items() if present and name not in holds)
    return dict(lost)
