"""Formats of annotations: find the format of a folder or .zip, and read its parts."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from itertools import chain, islice

from pellucid.base.errors import PellucidError, nearest
from pellucid.base.limits import (
    MAX_CLASSES,
    MAX_OUTLINE_PIXELS,
    MAX_OUTLINE_PIXELS_PER_BYTE,
    MAX_OUTLINE_PIXELS_PER_IMAGE,
)
from pellucid.base.text import case_variants, plural
from pellucid.data.annotations.base import Annotations, join_names
from pellucid.data.annotations.format import AnnotationFormat
from pellucid.data.format_names import ANNOTATION_FORMATS, TITLES
from pellucid.data.parts import matching_part, parts_among
from pellucid.data.tree import Tree
from pellucid.ops.masks import outline_length

POLYGONS_PER_CHUNK = 10_000  # measured at a time, so memory use does not grow with the data set


FORMATS: Mapping[str, AnnotationFormat] = {
    name: import_module(f"pellucid.data.annotations.{name}").FORMAT for name in TITLES
}


def find_format(tree: Tree) -> tuple[str, dict[str, tuple[str, ...]]]:
    """Return the name of the format of a tree's annotations and its files by part; ("", {}) without annotations."""
    for name, annotation_format in FORMATS.items():
        if parts := annotation_format.parts(tree):
            return name, parts
    return "", {}


def other_formats(tree: Tree, format_name: str) -> dict[str, list[str]]:
    """Return the annotation files of each format other than the one that is read; {} if there are none."""
    files_by_format: dict[str, list[str]] = {}
    used_paths = (
        {path for files in FORMATS[format_name].parts(tree).values() for path in files} if format_name else set()
    )
    for name, annotation_format in FORMATS.items():
        if name == format_name:
            continue
        parts = {} if annotation_format.files else annotation_format.parts(tree)
        all_files = annotation_format.files(tree) if annotation_format.files else chain.from_iterable(parts.values())
        files = [path for path in all_files if path not in used_paths]
        if files:
            files_by_format[name] = files
    return files_by_format


def unused_annotations(format_name: str, other_format: str, files: Sequence[str]) -> str:
    """Return in words that the annotations of another format than the one that is read are not used."""
    reason = f"is an annotation of {other_format}, which is not read, since there are those of {format_name}"
    return f"{reason} ({plural(len(files), 'file')})"


def parts_in_order(parts: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the training part and the held-out part, if any; without a training part, the first part only."""
    part_use = parts_among(parts)
    if part_use.train is None:
        return [*parts][:1]
    return [part_use.train] if part_use.held_out is None else [part_use.train, part_use.held_out]


def training_part_first(parts: Mapping[str, Sequence[str]]) -> list[str]:
    """Return all parts, sorted, except that the training part, which defines the classes, is the first."""
    training_part = parts_in_order(parts)[:1]
    return [*training_part, *(part for part in sorted(parts) if part not in training_part)] or [""]


def read_annotations(tree: Tree, part: str = "", classes: Sequence[str] | None = None) -> Annotations:
    """Return the annotations of one part of a tree.

    part: the name of a part in any spelling, "" if there is only one, or the path of one annotation file. classes: the
    allowed class names, indexed by label; by default the names in the training part if there is one. Raises
    PellucidError for a tree without annotations or without this part, for a part without images, and for more than
    MAX_CLASSES class names.
    """
    format_name, parts = find_format(tree)
    if not format_name:
        raise PellucidError(
            f"{tree.path} contains no annotations; give a folder of {ANNOTATION_FORMATS} annotations and their images"
        )
    if any(part in files for files in parts.values()):
        parts = {part: (part,)}
    if not part and len(parts) == 1:
        part = next(iter(parts))
    part = matching_part(part, parts)
    if part not in parts:
        available_text = ", ".join(map(repr, parts))
        raise PellucidError(f"{tree.path} has no part {part!r}{nearest(part, parts)}; it has {available_text:.200}")
    read_files = FORMATS[format_name].read
    training_part = parts_among(filter(None, parts)).train
    if classes is None and training_part not in (None, part):
        classes = read_files(tree, parts[training_part], None).classes
    if not parts[part]:
        raise PellucidError(f"{tree.path} has no images in part {part!r}; name some in its list, or remove the list")
    annotations = read_files(tree, parts[part], classes)
    if len(annotations.classes) > MAX_CLASSES:
        raise PellucidError(f"{tree.path} has {len(annotations.classes)} classes, above the limit of {MAX_CLASSES}")
    _check_polygon_lengths(tree, parts[part], annotations)
    return annotations


def remarks(annotations: Annotations, is_training: bool) -> list[str]:
    """Return what a user should know about annotations that can be read, in phrases for a note.

    is_training: whether they are those of the training part, whose classes should all have objects.
    """
    instances = [instance for record in annotations.records for instance in record.instances]
    texts: list[str] = []
    labels = {instance.label for instance in instances}
    absent_classes = [name for label, name in enumerate(annotations.classes) if label not in labels]
    if not instances:
        texts.append(f"no image has objects ({plural(len(annotations.records), 'image')})")
    elif absent_classes and is_training:
        texts.append(f"no object is of the class {join_names(map(repr, absent_classes))}")
    variants = case_variants(annotations.classes)
    if variants and is_training:
        texts.append(variants)
    n_outlines = sum(instance.outline is not None for instance in instances)
    if 0 < n_outlines < len(instances):
        texts.append(
            f"{plural(n_outlines, 'object')} {'has' if n_outlines == 1 else 'have'} an outline and "
            f"{len(instances) - n_outlines:,} only a box, so all are read as boxes"
        )
    return texts


def _check_polygon_lengths(tree: Tree, files: Sequence[str], annotations: Annotations) -> None:
    """Raise PellucidError for polygons whose outlines are together longer than the limit for a part."""
    outlines = (
        outline
        for record in annotations.records
        for outline in (record.void, *(instance.outline for instance in record.instances))
    )
    polygons = (polygon for outline in outlines if isinstance(outline, tuple) for polygon in outline)
    length = 0.0
    while chunk := tuple(islice(polygons, POLYGONS_PER_CHUNK)):
        length += outline_length(chunk)
    limit = MAX_OUTLINE_PIXELS + MAX_OUTLINE_PIXELS_PER_IMAGE * len(annotations.records)
    if length > limit and length > (limit := limit + MAX_OUTLINE_PIXELS_PER_BYTE * tree.document_bytes):
        raise PellucidError(
            f"{tree.where(files[0])}: the outlines of the objects are {length:.0f} pixels long, above the limit of "
            f"{limit} for {len(annotations.records)} images; correct the points of the polygons"
        )
