"""Conversion of annotated images from one format to another."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pellucid.data.annotations.base import Annotations, Fault, refuse
from pellucid.data.annotations.layout import FORMATS, find_format, read_annotations
from pellucid.data.tree import TRAIN, open_tree
from pellucid.errors import PellucidError, nearest
from pellucid.files import make_folder, write_atomically


@dataclass(frozen=True)
class Converted:
    """A converted set. images, objects: their numbers by part. lost: what the format cannot hold, with counts."""

    source: str
    images: dict[str, int]
    objects: dict[str, int]
    lost: dict[str, int]
    faults: tuple[Fault, ...]


def convert(path: str | os.PathLike[str], out: str | os.PathLike[str], form: str) -> Converted:
    """Write the annotated images of a folder or .zip in another format, into a folder that is new or empty.

    form: a name in FORMATS. Objects that cannot be used are left out, and listed in `faults`. Raises PellucidError for
    annotations that cannot be read, for images of one name, and where `out` holds files.
    """
    if form not in FORMATS:
        raise PellucidError(f"no format {form!r}{nearest(form, FORMATS)}; known are {', '.join(FORMATS)}")
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PellucidError(f"{folder} holds files; give a new folder")
    target = FORMATS[form]
    with open_tree(path) as tree:
        source, parts = find_format(tree)
        names = sorted(parts, key=lambda part: part != TRAIN) or [""]  # the training part gives the classes
        found: dict[str, Annotations] = {}
        for part in names:
            first = next(iter(found.values()), None)
            found[part] = read_annotations(tree, part, None if first is None else first.classes)
            refuse(found[part].faults)
        places = _places(found, form)
        target.write(found, folder)
        for place, image in places.items():
            make_folder((folder / place).parent)
            write_atomically(folder / place, tree.read(image), durable=False)
    faults = tuple(fault for one in found.values() for fault in one.faults)
    images = {part: len(one.records) for part, one in found.items()}
    objects = {part: sum(len(record.instances) for record in one.records) for part, one in found.items()}
    return Converted(source, images, objects, _lost(found, form), faults)


def _places(found: Mapping[str, Annotations], form: str) -> dict[str, str]:
    """Return the image in the tree for each place in the written set; PellucidError for two at one place."""
    places: dict[str, str] = {}
    stems: dict[str, str] = {}
    for part, one in found.items():
        for record in one.records:
            place = FORMATS[form].image_path(part, PurePosixPath(record.image).name)
            stem = str(PurePosixPath(place).with_suffix(""))  # annotations are files of this name
            if stems.setdefault(stem, record.image) != record.image:
                raise PellucidError(f"{stems[stem]} and {record.image} have one name in {form}; rename one of them")
            places[place] = record.image
    return places


def _lost(found: Mapping[str, Annotations], form: str) -> dict[str, int]:
    """Return the numbers of objects with masks, key-points or a mark as crowd that the format cannot hold."""
    lost: Counter[str] = Counter()
    for one in found.values():
        holds = FORMATS[form].holds
        if form == "yolo" and (one.keypoints or not one.has_masks):
            holds -= {"masks"}
        for record in one.records:
            for instance in record.instances:
                has = {
                    "masks": instance.outline is not None, "keypoints": bool(instance.points), "crowd": instance.crowd
                }  # fmt: skip
                lost.update(name for name, given in has.items() if given and name not in holds)
    return dict(lost)
