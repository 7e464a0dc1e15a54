"""What is wrong with the annotations of a set of images, file by file."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

import torch

from pellucid.data.annotations.base import Annotations, Fault, Instance, Record
from pellucid.data.annotations.images import ImageIndex
from pellucid.data.annotations.layout import find_format, read_annotations
from pellucid.data.augment.targets import tight_boxes
from pellucid.data.images import image_size
from pellucid.data.quality.duplicates import exact_duplicates, near_duplicates
from pellucid.data.quality.survey import survey
from pellucid.data.tree import TRAIN, Tree, open_tree
from pellucid.errors import PellucidError
from pellucid.ops.boxes import box_iou
from pellucid.text import plural

SAME_OBJECT = 0.85  # IoU of two boxes of one class from which they may be one object
MASK_IN_BOX = 0.5  # IoU of an object's box and the tight box of its mask below which they do not belong together
THUMBNAIL = (64, 64)


@dataclass(frozen=True)
class Part:
    """The counts of one part. empty: images without objects."""

    images: int
    objects: int
    empty: int


@dataclass(frozen=True)
class Linted:
    """The format and parts of a set, and all that is wrong with it."""

    form: str
    parts: dict[str, Part]
    faults: tuple[Fault, ...]


def lint(path: str | os.PathLike[str], progress: Callable[[int, int], None] | None = None) -> Linted:
    """Read all annotations and images of a folder or .zip, and list what is wrong with them.

    progress: called with the number of images read, and of all. Raises PellucidError only for a folder without
    annotations.
    """
    with open_tree(path) as tree:
        form, parts = find_format(tree)
        found: dict[str, Annotations] = {}
        faults: list[Fault] = []
        for part in sorted(parts, key=lambda part: part != TRAIN) or [""]:
            classes = next((one.classes for one in found.values()), None)
            try:
                found[part] = read_annotations(tree, part, classes)
            except PellucidError as error:
                if not parts:
                    raise
                faults.append(Fault(str(tree.path), None, f"part {part!r}: {error}", "refused"))
                continue
            faults += found[part].faults
            for record in found[part].records:
                faults += _of_record(record)
        faults += _of_images(tree, found, progress)
    counts = {
        part: Part(
            len(one.records),
            sum(len(record.instances) for record in one.records),
            sum(not record.instances for record in one.records),
        )
        for part, one in found.items()
    }
    return Linted(form, counts, tuple(faults))


def _of_record(record: Record) -> Iterator[Fault]:
    """Yield what is wrong with the loaded objects of one image."""
    some, where = record.instances, f"{record.file} ({PurePosixPath(record.image).name})"
    if not some:
        yield Fault(where, None, "image has no objects", "listed")
        return
    boxes, labels = torch.tensor([one.box for one in some]), torch.tensor([one.label for one in some])
    same = (box_iou(boxes, boxes) >= SAME_OBJECT) & (labels[:, None] == labels)
    for first, second in same.triu(1).nonzero().tolist():
        share = float(box_iou(boxes[first : first + 1], boxes[second : second + 1]))
        how = "equal" if some[first].box == some[second].box else f"almost equal (IoU {share:.2f})"
        yield Fault(
            record.file if some[second].line is not None else where,
            some[second].line,
            f"box {_shown(some[second])} is {how} to {_shown(some[first])} of the same class",
            "listed",
        )
    height, width = record.size
    for one in some:
        outside = sum(
            seen > 0 and not (0 <= x <= width and 0 <= y <= height)
            for x, y, seen in zip(one.points[::3], one.points[1::3], one.points[2::3], strict=True)
        )
        if outside:
            yield Fault(where, one.line, f"{plural(outside, 'key-point')} of {_shown(one)} outside the image", "listed")
        if one.outline is not None:
            yield from _of_mask(record, one, where)


def _of_mask(record: Record, one: Instance, where: str) -> Iterator[Fault]:
    tight = tight_boxes(record.mask(one)[None])
    share = float(box_iou(torch.tensor([one.box]), tight))
    if float(tight[0, 2]) == 0:
        yield Fault(where, one.line, f"mask of {_shown(one)} has no pixels", "listed")
    elif share < MASK_IN_BOX:
        reason = f"mask of {_shown(one)} lies elsewhere: its tight box overlaps by IoU {share:.2f}"
        yield Fault(where, one.line, reason, "listed")


def _of_images(
    tree: Tree, found: dict[str, Annotations], progress: Callable[[int, int], None] | None
) -> Iterator[Fault]:
    """Yield what is wrong with the images: unreadable, of another size, in no annotations, or in two parts."""
    part_of = {record.image: part for part, one in found.items() for record in one.records}
    records = {record.image: record for one in found.values() for record in one.records}
    for image in ImageIndex(tree).images:
        if image not in records:
            yield Fault(tree.where(image), None, "no annotations name this image", "listed")
    try:
        seen = survey(tree, sorted(records), THUMBNAIL, "RGB", progress)
    except PellucidError as error:  # none can be read
        yield Fault(str(tree.path), None, str(error), "refused")
        return
    for one in seen.corrupt:
        yield Fault(tree.where(one.file), None, one.reason, "refused")
    for image in seen.files:
        size, stated = image_size(tree.read(image), tree.where(image)), records[image].size
        if size != stated:
            reason = f"image is {size[0]}x{size[1]}, but {records[image].file} says {stated[0]}x{stated[1]}"
            yield Fault(tree.where(image), None, reason, "refused")
    exact = exact_duplicates(seen.digests)
    pairs = {(pair.first, pair.second) for pair in exact}
    near = [pair for pair in near_duplicates(seen.small) if (pair.first, pair.second) not in pairs]
    for pair in [*exact, *near]:
        first, second = seen.files[pair.first], seen.files[pair.second]
        crossing = part_of[first] != part_of[second]
        if pair in exact or crossing:
            how = "the same file as" if pair in exact else f"nearly the image (correlation {pair.similarity:.2f})"
            parts = f", in {part_of[second]} and {part_of[first]}" if crossing else ""
            yield Fault(tree.where(second), None, f"is {how} {first}{parts}", "listed")


def _shown(one: Instance) -> str:
    return f"({', '.join(f'{value:g}' for value in one.box)})"
