"""Checks of annotated images: a list of the faults of each file."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import torch

from pellucid.base.errors import PellucidError
from pellucid.base.files import is_picture
from pellucid.base.text import collected_notes, note, plural
from pellucid.data.annotations.base import (
    AnnotationFault,
    Annotations,
    BoxCorners,
    Effect,
    Faults,
    ImageRecord,
    Instance,
    size_fault,
)
from pellucid.data.annotations.formats import (
    find_format,
    other_formats,
    read_annotations,
    remarks,
    training_part_first,
    unused_annotations,
)
from pellucid.data.annotations.images import ImageIndex
from pellucid.data.class_folders import class_parts, note_class_folders, part_classes, root_of
from pellucid.data.files import check_bits
from pellucid.data.images import attempt_all, decode
from pellucid.data.labelled_images import load_table
from pellucid.data.mask_checks import VOID
from pellucid.data.mask_settings import MaskSettings, reading_masks
from pellucid.data.masks import MaskFolder, mask_parts, mask_split
from pellucid.data.parts import parts_among
from pellucid.data.quality.duplicates import exact_duplicates, near_duplicates
from pellucid.data.quality.survey import survey
from pellucid.data.table_files import TABLE_STEMS, has_table, table_files
from pellucid.data.table_targets import TableFormat
from pellucid.data.tree import Tree, open_tree
from pellucid.metrics.objects import default_normalizing_points, measurable, required_points
from pellucid.ops.boxes import box_iou
from pellucid.ops.masks import span_box

MAX_LISTED_SUFFIXES = 5  # of files that are not recognized
# The names of files about the data, which are no data.
_DOCUMENT = re.compile("(readme|licen[cs]e|citation|notice)", re.IGNORECASE)
MIN_DUPLICATE_IOU = 0.85  # two boxes of one class with at least this IoU may be the same object
MIN_MASK_IOU = 0.5  # of an object's box and the bounding box of its mask; below it, the mask counts as misplaced
BOXES_PER_CHUNK = 512  # compared at a time with all earlier ones; memory use is then linear in the number of boxes
THUMBNAIL = (64, 64)  # (H, W) to which images are resized to find near-duplicates


@dataclass(frozen=True)
class PartCounts:
    """The numbers of images, of objects and of images without objects (`empty`) of one part."""

    images: int
    objects: int
    empty: int


@dataclass(frozen=True)
class LintReport:
    """The format, parts and faults of an annotated data set; recognized: a line on the masks of each part."""

    format_name: str
    parts: dict[str, PartCounts]
    faults: tuple[AnnotationFault, ...]
    recognized: tuple[str, ...] = ()


def lint(path: str | os.PathLike[str], progress: Callable[[int, int], None] | None = None) -> LintReport:
    """Read all annotations and images of a folder or .zip, and list their faults, and the notes of their readers.

    Without annotations, the images that cannot be read are listed, and files that may be annotations. progress: called
    with the number of images read so far and the total. Raises PellucidError only for a folder with neither annotations
    nor images.
    """
    faults = Faults()
    recognized: list[str] = []
    with open_tree(path) as tree, collected_notes() as notes:
        format_name, files = find_format(tree)
        if format_name:
            counts = _lint_annotations(tree, files, faults, progress)
            _list_other_formats(tree, format_name, faults)
        elif mask_part_names := _mask_parts(path, faults):
            format_name, counts = "masks", _lint_masks(path, mask_part_names, faults, recognized, progress)
        else:
            format_name, counts = "images", _lint_images(tree, faults, progress)
        for text in dict.fromkeys(notes):
            faults.add(_file_of(text, tree), None, text, "listed")
    return LintReport(format_name, counts, faults.entries, tuple(recognized))


def _add_error_of(faults: Faults, tree: Tree, check: Callable[[], object], effect: Effect = "refused") -> None:
    """Add the error of a check to `faults`, if there is one."""
    try:
        check()
    except PellucidError as error:
        faults.add(_file_of(str(error), tree), None, str(error), effect)


def _file_of(message: str, tree: Tree) -> str:
    """Return the file with whose name a message begins, otherwise the path of the tree."""
    files = map(tree.where, tree.names)
    return next((file for file in files if message.startswith((f"{file} ", f"{file}: "))), str(tree.path))


def _lint_annotations(
    tree: Tree, files: Mapping[str, Sequence[str]], faults: Faults, progress: Callable[[int, int], None] | None
) -> dict[str, PartCounts]:
    """List the faults of annotations and their images; return the counts of each part."""
    annotations_by_part: dict[str, Annotations] = {}
    listed_faults: set[AnnotationFault] = set()  # the faults of earlier parts: those of all parts are listed once
    for part in training_part_first(files):
        classes = next((annotations.classes for annotations in annotations_by_part.values()), None)
        try:
            annotations_by_part[part] = read_annotations(tree, part, classes)
        except PellucidError as error:
            if not files:
                raise
            faults.add(str(tree.path), None, f"part {part!r}: {error}", "refused")
            continue
        if any(record.instances for record in annotations_by_part[part].records):  # otherwise each image is listed
            for text in remarks(annotations_by_part[part], classes is None):
                note(f"part {part!r}: {text}" if part else text)
        faults.extend(fault for fault in annotations_by_part[part].faults if fault not in listed_faults)
        listed_faults.update(annotations_by_part[part].faults)
        for record in annotations_by_part[part].records:
            faults.extend(_record_faults(record))
        faults.extend(_unmeasurable_objects(annotations_by_part[part]))
    parts_among(files).note_used_parts(tree.path, files)
    faults.extend(_image_faults(tree, annotations_by_part, progress))
    images = [record.image for annotations in annotations_by_part.values() for record in annotations.records]
    _add_error_of(faults, tree, lambda: check_bits(tree, images))
    return {
        part: PartCounts(
            images=len(annotations.records),
            objects=sum(len(record.instances) for record in annotations.records),
            empty=sum(not record.instances for record in annotations.records),
        )
        for part, annotations in annotations_by_part.items()
    }


def _mask_parts(path: str | os.PathLike[str], faults: Faults) -> list[str]:
    """Return the parts with masks, also beside images in class folders; list an error of their names."""
    try:
        with reading_masks(MaskSettings(targets="masks")):
            return mask_parts(path)
    except PellucidError as error:
        faults.add(str(path), None, str(error), "refused")
        return []


def _lint_masks(
    path: str | os.PathLike[str],
    part_names: Sequence[str],
    faults: Faults,
    recognized: list[str],
    progress: Callable[[int, int], None] | None,
) -> dict[str, PartCounts]:
    """List the images and masks that training cannot use, and the first file without a partner of each part."""
    sources: dict[str, MaskFolder] = {}
    part_use = mask_split(path)
    with ExitStack() as open_trees:
        open_trees.enter_context(reading_masks(MaskSettings(targets="masks")))
        for part in part_names:
            try:
                sources[part] = MaskFolder(path, part, ignored=VOID)
                open_trees.enter_context(closing(sources[part].tree))
            except PellucidError as error:
                faults.add(str(path), None, f"part {part!r}: {error}", "refused")
        n_done, n_total = 0, sum(map(len, sources.values()))
        for part, source in sources.items():
            readable: list[int] = []
            with attempt_all(source.read_pair, range(len(source))) as results:
                for k, result in results:
                    if isinstance(result, PellucidError):
                        where = source.tree.where(source.names[k])
                        faults.add(where, None, str(result), "refused")
                    else:
                        readable.append(k)
                    n_done += 1
                    if progress is not None:
                        progress(n_done, n_total)
            if readable:
                try:
                    recognized.append(source.check_values(readable, part == part_use.train))
                except PellucidError as error:
                    faults.add(_file_of(str(error), source.tree), None, str(error), "refused")
        for source in sources.values():
            _add_error_of(faults, source.tree, partial(check_bits, source.tree, source.names))
    part_use.note_used_parts(path)
    return {part: PartCounts(images=len(source), objects=0, empty=0) for part, source in sources.items()}


def _lint_images(tree: Tree, faults: Faults, progress: Callable[[int, int], None] | None) -> dict[str, PartCounts]:
    """List the images of a tree without annotations that cannot be read, and what a reader of class folders notes."""
    image_names = ImageIndex(tree).images
    if not image_names:
        raise PellucidError(f"{tree.path} contains neither annotations nor images; give a folder of images")

    def check(name: str) -> None:
        decode(tree.read(name), tree.where(name), None, "RGB")

    with attempt_all(check, image_names) as results:
        for n_done, (name, error) in enumerate(results, start=1):
            if error is not None:
                where = tree.where(name)
                faults.add(where, None, str(error), "refused")
            if progress is not None:
                progress(n_done, len(image_names))
    _add_error_of(faults, tree, lambda: check_bits(tree, image_names))
    if any("/" in name for name in image_names):
        _add_error_of(faults, tree, lambda: _check_class_folders(tree), "listed")
    table_names = {table.name for table in table_files(tree.path)[1]}
    if not has_table(str(tree.path)):  # unless it has a usual name, and names pictures wrongly
        table_names = {name for name in table_names if PurePosixPath(name).stem.lower() in TABLE_STEMS}
    if table_names:  # which may say other things about images in class folders
        effect: Effect = "listed" if any("/" in name for name in image_names) else "refused"
        _add_error_of(faults, tree, lambda: check_table(tree.path), effect)
    other_files = (name for name in tree.names if not is_picture(name) and name not in table_names)
    unknown_files = [name for name in other_files if not _DOCUMENT.match(PurePosixPath(name).name)]
    if unknown_files:
        counts = Counter(PurePosixPath(name).suffix.lower() or "no suffix" for name in unknown_files)
        suffixes = ", ".join(f"{count:,} {suffix}" for suffix, count in counts.most_common(MAX_LISTED_SUFFIXES))
        note(f"no annotations are recognized; other files: {suffixes}, such as {unknown_files[0]}")
    return {"": PartCounts(images=len(image_names), objects=0, empty=0)}


def check_table(path: Path) -> None:
    """Write the note on the labels of a folder's table; raise PellucidError for one that no training reads."""
    try:
        load_table(path, TableFormat())
    except PellucidError as error:
        try:
            load_table(path, TableFormat("numbers"))
        except PellucidError:
            # read in no way: the first reading, as labels, has the message
            raise error from None


def _check_class_folders(tree: Tree) -> None:
    """Write the notes on class folders, and raise PellucidError for a class without images or only for testing."""
    root = root_of(tree)
    parts = class_parts(tree, root)
    for part in (parts.train or "", parts.held_out):
        if part is not None:
            part_classes(tree, root, part)
    note_class_folders(tree, root, parts)


def _list_other_formats(tree: Tree, format_name: str, faults: Faults) -> None:
    """List annotations of other formats than the one that is read."""
    for other_format, files in other_formats(tree, format_name).items():
        faults.add(tree.where(files[0]), None, unused_annotations(format_name, other_format, files), "listed")


def _record_faults(record: ImageRecord) -> Iterator[AnnotationFault]:
    """Yield the faults of the loaded objects of one image."""
    instances, where = record.instances, _where(record)
    if not instances:
        yield AnnotationFault(where, None, "image has no objects", "listed")
        return
    for instance, duplicate, relation in _duplicates(instances):
        yield AnnotationFault(
            record.file if instance.line is not None else where,
            instance.line,
            f"box {_box_text(instance)} is {relation} to {_box_text(duplicate)} of the same class",
            "listed",
        )
    height, width = record.size
    for instance in instances:
        n_outside = sum(
            visibility > 0 and not (0 <= x <= width and 0 <= y <= height)
            for x, y, visibility in zip(instance.points[::3], instance.points[1::3], instance.points[2::3], strict=True)
        )
        if n_outside:
            yield AnnotationFault(
                where,
                instance.line,
                f"{plural(n_outside, 'key-point')} of {_box_text(instance)} outside the image",
                "listed",
            )
        if instance.outline is not None:
            yield from _mask_faults(record, instance, where)


def _unmeasurable_objects(annotations: Annotations) -> Iterator[AnnotationFault]:
    """Yield the objects of classes with key-points that have no normalised mean error."""
    n_keypoints = len(annotations.keypoints)
    if n_keypoints < 2:
        return
    pointed_labels = {
        instance.label for record in annotations.records for instance in record.instances if instance.points
    }
    reason = (
        f"has no {required_points(default_normalizing_points(n_keypoints))}; the normalised mean error leaves it out"
    )
    for record in annotations.records:
        for instance in record.instances:
            has_points = instance.label in pointed_labels and not instance.crowd
            if has_points and not measurable(instance.keypoints(n_keypoints)[None]):
                yield AnnotationFault(_where(record), instance.line, f"{_box_text(instance)} {reason}", "listed")


def _where(record: ImageRecord) -> str:
    return f"{record.file} ({PurePosixPath(record.image).name})"


def _duplicates(instances: Sequence[Instance]) -> Iterator[tuple[Instance, Instance, str]]:
    """Yield (instance, first earlier instance of its class with an (almost) equal box, their relation in words)."""
    instance_by_box: dict[tuple[BoxCorners, int], Instance] = {}
    for instance in instances:
        first_instance = instance_by_box.setdefault((instance.box, instance.label), instance)
        if first_instance is not instance:
            yield instance, first_instance, "equal"
    distinct_instances = [*instance_by_box.values()]
    boxes = torch.tensor([instance.box for instance in distinct_instances])
    labels = torch.tensor([instance.label for instance in distinct_instances])
    for start in range(0, len(distinct_instances), BOXES_PER_CHUNK):
        end = min(start + BOXES_PER_CHUNK, len(distinct_instances))
        iou = box_iou(boxes[start:end], boxes[:end]).where(labels[start:end, None] == labels[:end], 0.0)
        is_same = (iou >= MIN_DUPLICATE_IOU).tril(start - 1)  # compare with earlier boxes only
        first_index = is_same.to(torch.uint8).argmax(1)
        for row in is_same.any(1).nonzero().flatten().tolist():
            earlier_index = int(first_index[row])
            yield (
                distinct_instances[start + row],
                distinct_instances[earlier_index],
                f"almost equal (IoU {float(iou[row, earlier_index]):.2f})",
            )


def _mask_faults(record: ImageRecord, instance: Instance, where: str) -> Iterator[AnnotationFault]:
    tight_box = span_box(record.spans(instance), record.size[0])
    iou = float(box_iou(torch.tensor([instance.box]), torch.tensor([tight_box], dtype=torch.float32)))
    if tight_box[2] == 0:
        yield AnnotationFault(where, instance.line, f"mask of {_box_text(instance)} has no pixels", "listed")
    elif iou < MIN_MASK_IOU:
        reason = f"mask of {_box_text(instance)} lies elsewhere: its tight box has IoU {iou:.2f} with the box"
        yield AnnotationFault(where, instance.line, reason, "listed")


def _image_faults(
    tree: Tree, annotations_by_part: dict[str, Annotations], progress: Callable[[int, int], None] | None
) -> Iterator[AnnotationFault]:
    """Yield the faults of images: unreadable, without annotations, duplicated, or of another size than annotated."""
    part_of = {
        record.image: part for part, annotations in annotations_by_part.items() for record in annotations.records
    }
    records = {record.image: record for annotations in annotations_by_part.values() for record in annotations.records}
    index = ImageIndex(tree)
    for image in index.images:
        if image not in records:
            yield AnnotationFault(tree.where(image), None, "no annotations name this image", "listed")
    if not records:  # the annotations of every image were refused
        return
    try:
        surveyed = survey(tree, sorted(records), THUMBNAIL, "RGB", progress)
    except PellucidError as error:  # no image can be read
        yield AnnotationFault(str(tree.path), None, str(error), "refused")
        return
    for corrupt in surveyed.corrupt:
        yield AnnotationFault(tree.where(corrupt.file), None, corrupt.reason, "refused")
    for image in surveyed.files:
        if reason := size_fault(records[image], index.size(image)):
            yield AnnotationFault(tree.where(image), None, reason, "refused")
    exact_pairs = exact_duplicates(surveyed.digests)
    exact_indices = {(pair.first, pair.second) for pair in exact_pairs}
    similar_pairs = [
        pair for pair in near_duplicates(surveyed.thumbnails) if (pair.first, pair.second) not in exact_indices
    ]
    for pair in [*exact_pairs, *similar_pairs]:
        first_file, second_file = surveyed.files[pair.first], surveyed.files[pair.second]
        is_across_parts, is_same = (
            part_of[first_file] != part_of[second_file],
            (pair.first, pair.second) in exact_indices,
        )
        if is_same or is_across_parts:
            relation = (
                "the same file as" if is_same else f"almost the same image as (correlation {pair.similarity:.2f})"
            )
            parts_text = f", in {part_of[second_file]} and {part_of[first_file]}" if is_across_parts else ""
            yield AnnotationFault(tree.where(second_file), None, f"is {relation} {first_file}{parts_text}", "listed")


def _box_text(instance: Instance) -> str:
    return f"({', '.join(f'{value:g}' for value in instance.box)})"
