"""Conversion of annotated images from one format to another."""

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from glob import escape
from pathlib import Path, PurePosixPath

from pellucid.base.errors import PellucidError, nearest
from pellucid.base.files import make_folder, write_atomically
from pellucid.base.limits import MAX_MASK_SIDES, MAX_SIDES, MAX_SIDES_PER_BYTE, MAX_SIDES_PER_IMAGE
from pellucid.data.annotations import class_masks
from pellucid.data.annotations.base import (
    BOX_TOLERANCE,
    AnnotationFault,
    Annotations,
    Faults,
    ImageRecord,
    Instance,
    check_faults,
    size_fault,
)
from pellucid.data.annotations.format import AnnotationFormat
from pellucid.data.annotations.formats import FORMATS, find_format, read_annotations, training_part_first
from pellucid.data.annotations.from_masks import mask_annotations
from pellucid.data.annotations.images import ImageIndex
from pellucid.data.tree import Tree, open_tree
from pellucid.ops.masks import span_box, span_outline

# The time to convert masks (RLE) to polygons grows with the number of pixel sides along their outlines. It is limited
# for one mask, and for all masks of a data set by the sum of MAX_SIDES, MAX_SIDES_PER_IMAGE and MAX_SIDES_PER_BYTE.
WRITERS = {name: target for name, target in FORMATS.items() if target.write is not None} | {
    class_masks.FORMAT.name: class_masks.FORMAT
}
PIXELS_PER_SIDE = 200  # pixels in a mask's columns that take as long to scan as one side takes to follow


@dataclass(frozen=True)
class Conversion:
    """Result of a conversion.

    source: the original format. images, objects: counts by part. lost: the number of objects whose "masks",
    "keypoints", "crowd" or "box" the new format cannot store, and of images with pixels without a class ("void").
    faults: the faults of the original annotations, and each box that is replaced by the bounding box of its polygon.
    """

    source: str
    images: dict[str, int]
    objects: dict[str, int]
    lost: dict[str, int]
    faults: tuple[AnnotationFault, ...]


def convert(
    path: str | os.PathLike[str], out: str | os.PathLike[str], format_name: str, background: str | None = None
) -> Conversion:
    """Write the annotated images, or images with masks, of a folder or .zip in another format, into a new folder.

    format_name: a key of WRITERS. Masks are read if no annotations have outlines; each connected region of a class
    becomes an object, but for those of the class `background`, see `mask_annotations`. Objects that cannot be used are
    left out and listed in `faults`. Raises PellucidError for annotations that cannot be read, and for images whose size
    differs from their annotations. It is also raised for two images with the same name, for names that the format
    cannot store, and unless `out` is new or empty and outside of `path`. All files are written into a temporary folder
    next to `out`, which then replaces `out`. Temporary folders that killed calls left there are removed.
    """
    if format_name not in WRITERS:
        raise PellucidError(f"no format {format_name!r}{nearest(format_name, WRITERS)}; known are {', '.join(WRITERS)}")
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PellucidError(f"{folder} is not an empty folder; give a new folder")
    if folder.resolve().is_relative_to(Path(path).resolve()):
        raise PellucidError(f"{folder} is inside {path}, which is read; give a folder outside of it")
    target_format = WRITERS[format_name]
    write = target_format.write
    assert write is not None  # those of WRITERS
    with open_tree(path) as tree:
        source_format, annotations_by_part = _read_parts(tree, background)
        if format_name == class_masks.FORMAT.name:
            _check_outlines(annotations_by_part)
        paths = _output_paths(annotations_by_part, target_format)
        _check_sizes(tree, annotations_by_part)
        _check_names(tree, annotations_by_part, target_format)
        _check_mask_sides(tree, annotations_by_part, target_format)
        with _replacement_folder(folder) as temporary:
            write(annotations_by_part, temporary)
            # No file waits for the disk: after a power failure, the conversion is repeated.
            for target_path, image in paths.items():
                make_folder((temporary / target_path).parent)
                write_atomically(temporary / target_path, tree.read(image), durable=False)
    faults = Faults()
    for annotations in annotations_by_part.values():
        faults.extend(annotations.faults)
    lost = _count_lost(annotations_by_part, target_format)
    if n_replaced := _count_replaced_boxes(annotations_by_part, target_format, faults):
        lost["box"] = n_replaced
    images = {part: len(annotations.records) for part, annotations in annotations_by_part.items()}
    objects = {
        part: sum(len(record.instances) for record in annotations.records)
        for part, annotations in annotations_by_part.items()
    }
    return Conversion(source_format, images, objects, lost, faults.entries)


def _read_parts(tree: Tree, background: str | None) -> tuple[str, dict[str, Annotations]]:
    """Return the format of a data set and its annotations by part; masks are read if no annotations have outlines."""
    source_format, parts = find_format(tree)
    annotations_by_part: dict[str, Annotations] = {}
    for part in training_part_first(parts) if source_format else ():
        first_annotations = next(iter(annotations_by_part.values()), None)
        annotations_by_part[part] = read_annotations(
            tree, part, None if first_annotations is None else first_annotations.classes
        )
        check_faults(annotations_by_part[part].faults)
        if not annotations_by_part[part].records:
            raise PellucidError(f"{tree.path}: part {part!r} has no images; add some, or remove its annotations")
    has_outlines = any(annotations.has_masks for annotations in annotations_by_part.values())
    from_masks = mask_annotations(tree.path, background) if background is not None or not has_outlines else {}
    if from_masks:
        return class_masks.FORMAT.name, from_masks
    if not source_format:
        read_annotations(tree)  # raises PellucidError
    return source_format, annotations_by_part


def _check_outlines(parts: Mapping[str, Annotations]) -> None:
    """Raise PellucidError for an object without an outline, which has no mask."""
    for record in (record for annotations in parts.values() for record in annotations.records):
        for instance in record.instances:
            record.spans(instance)  # raises PellucidError


@contextmanager
def _replacement_folder(folder: Path) -> Iterator[Path]:
    """Return a context manager of a new folder, which replaces `folder` on exit and is removed after an error."""
    folder = folder.resolve()
    make_folder(folder.parent)
    for leftover in folder.parent.glob(f".{escape(folder.name)}.*.tmp"):
        if not _is_running(leftover.name.split(".")[-2]):  # left by a process that was killed
            shutil.rmtree(leftover, ignore_errors=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        yield make_folder(temporary)
        try:
            if folder.exists():
                folder.rmdir()
            temporary.rename(folder)
        except OSError as error:
            raise PellucidError(f"{folder} cannot be replaced ({error.strerror}); give a new folder") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _is_running(process_id: str) -> bool:
    """Return whether this is another process that runs; True if that is unknown."""
    if os.name != "posix" or not process_id.isdecimal():
        return True
    try:
        os.kill(int(process_id), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # of another user
        return True
    return int(process_id) != os.getpid()


def _check_names(tree: Tree, parts: Mapping[str, Annotations], target_format: AnnotationFormat) -> None:
    """Raise PellucidError for names of classes and images that the format cannot store exactly."""
    if reason := target_format.class_fault(parts):
        raise PellucidError(f"{tree.path}: the class names {reason}; convert to another format")
    for annotations in parts.values():
        for name, count in Counter(annotations.classes).items():
            if count > 1:
                raise PellucidError(f"{tree.path}: class {name!r:.60} is named twice; rename one of them")
            if not target_format.holds_class(name):
                raise PellucidError(
                    f"{tree.path}: {target_format.name} cannot hold the class name {name!r:.60}; rename the class"
                )
        for record in annotations.records:
            if not target_format.holds_image(PurePosixPath(record.image).name):
                raise PellucidError(
                    f"{tree.where(record.image)!r:.300}: {target_format.name} cannot hold the name of the image; "
                    "rename it"
                )


def _check_mask_sides(
    tree: Tree, annotations_by_part: Mapping[str, Annotations], target_format: AnnotationFormat
) -> None:
    """Raise PellucidError for masks whose outlines exceed the limits, if the format writes them as polygons."""
    if not target_format.masks_as_polygons:
        return
    parts = [
        annotations for annotations in annotations_by_part.values() if "masks" in target_format.written(annotations)
    ]
    n_sides, n_images = 0, sum(len(annotations.records) for annotations in parts)
    limit = MAX_SIDES + MAX_SIDES_PER_IMAGE * n_images + MAX_SIDES_PER_BYTE * tree.document_bytes
    for record in (record for annotations in parts for record in annotations.records):
        for instance in record.instances:
            if isinstance(instance.outline, str):
                spans, height = record.spans(instance), record.size[0]
                x0, _, x1, _ = span_box(spans, height)
                n_mask_sides = span_outline(spans, height)
                n_sides += n_mask_sides + height * (x1 - x0) // PIXELS_PER_SIDE
                if n_mask_sides > MAX_MASK_SIDES or n_sides > limit:
                    raise PellucidError(
                        f"{record.file}: the outlines of masks up to {record.image} are too long for "
                        f"{target_format.name}, above {MAX_MASK_SIDES} sides of pixels in one mask or {limit} in "
                        "all; convert them to coco"
                    )


def _count_replaced_boxes(parts: Mapping[str, Annotations], target_format: AnnotationFormat, faults: Faults) -> int:
    """Count boxes that a format without boxes replaces by the bounding boxes of masks, and add each to `faults`."""
    n_replaced = 0
    for annotations in parts.values():
        if "box" in target_format.written(annotations):
            continue
        for record in annotations.records:
            for instance in record.instances:
                box = _outline_box(record, instance)
                if any(
                    abs(value - stated_value) > BOX_TOLERANCE
                    for value, stated_value in zip(box, instance.box, strict=True)
                ):
                    n_replaced += 1
                    stated_text, new_text = (
                        ", ".join(f"{value:g}" for value in sides) for sides in (instance.box, box)
                    )
                    reason = f"box ({stated_text}) becomes that of its polygon, ({new_text})"
                    faults.add(record.file, instance.line, reason, "listed")
    return n_replaced


def _outline_box(record: ImageRecord, instance: Instance) -> tuple[float, float, float, float]:
    if not isinstance(instance.outline, tuple):
        return span_box(record.spans(instance), record.size[0])
    x, y = ([value for polygon in instance.outline for value in polygon[axis::2]] for axis in (0, 1))
    return min(x), min(y), max(x), max(y)


def _check_sizes(tree: Tree, parts: Mapping[str, Annotations]) -> None:
    """Raise PellucidError if an image's size differs from its annotations, because some formats do not store it."""
    index = ImageIndex(tree)
    for annotations in parts.values():
        for record in annotations.records:
            if fault := size_fault(record, index.size(record.image)):
                raise PellucidError(f"{tree.where(record.image)}: {fault}")


def _output_paths(parts: Mapping[str, Annotations], target_format: AnnotationFormat) -> dict[str, str]:
    """Return the images in the tree by the path to write; raise PellucidError for two images with the same name."""
    paths: dict[str, str] = {}
    stems: dict[str, str] = {}
    for part, annotations in parts.items():
        for record in annotations.records:
            target_path = target_format.image_path(part, PurePosixPath(record.image).name)
            stem = str(PurePosixPath(target_path).with_suffix(""))  # an annotation file has the name of its image
            if stems.setdefault(stem, record.image) != record.image:
                raise PellucidError(
                    f"{stems[stem]} and {record.image} would have the same name in {target_format.name}; "
                    "rename one of them"
                )
            paths[target_path] = record.image
    return paths


def _count_lost(parts: Mapping[str, Annotations], target_format: AnnotationFormat) -> dict[str, int]:
    """Return the numbers of objects whose masks, key-points or crowd flag the format cannot store."""
    lost: Counter[str] = Counter()
    for annotations in parts.values():
        written_kinds = target_format.written(annotations)
        for record in annotations.records:
            if record.void and "void" not in written_kinds:
                lost["void"] += 1
            for instance in record.instances:
                presence_by_kind = {
                    "masks": instance.outline is not None, "keypoints": bool(instance.points), "crowd": instance.crowd
                }  # fmt: skip
                lost.update(
                    name for name, is_present in presence_by_kind.items() if is_present and name not in written_kinds
                )
    return dict(lost)
