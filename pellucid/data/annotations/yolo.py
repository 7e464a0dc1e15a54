"""YOLO text: one text file for each image with one line of numbers for each object, and a file of class names.

A line is the class and a box (centre x, centre y, width, height), or a polygon, or, with kpt_shape in data.yaml, a box
and key-points (x, y, and visibility for kpt_shape: [K, 3]), with coordinates as fractions of the image's width and
height. flip_idx in data.yaml is the order of the key-points after mirroring, and kpt_names their names, otherwise p0,
p1, ... The box of a polygon is its bounding box.
Source: docs.ultralytics.com/datasets.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from pellucid.base.errors import PellucidError
from pellucid.base.files import decode_text, make_folder, write_atomically
from pellucid.base.limits import MAX_KEYPOINTS, MAX_OBJECTS, MAX_YAML_BYTES
from pellucid.base.text import plural
from pellucid.data.annotations.base import Annotations, Faults, ImageRecord, Instance, MissingImageError, join_names
from pellucid.data.annotations.format import AnnotationFormat
from pellucid.data.annotations.images import ImageIndex
from pellucid.data.annotations.readings import CENTRE_AND_SIZE, BoxReadings
from pellucid.data.annotations.yolo_layout import (
    CLASS_LIST_FILES,
    LABEL_SUFFIX,
    class_file,
    find_parts,
    label_file,
    label_files,
    missing_labels,
    path_faults,
)
from pellucid.data.annotations.yolo_lines import KeypointShape, PolygonLines, parse_line
from pellucid.data.tree import YAML_SUFFIXES, Tree


def parse_point_names(settings: Mapping[str, Any], n_points: int, where: str) -> tuple[str, ...]:
    """Return kpt_names, a list of `n_points` names or one list for each class, by default p0, p1, ...

    where: the file, in messages. Raises PellucidError for other values, and for lists that differ between the classes.
    """
    value = settings.get("kpt_names")
    if not value or not n_points:
        return tuple(f"p{k}" for k in range(n_points))
    lists = [*value.values()] if isinstance(value, dict) else [value]
    names = lists[0]
    is_list = isinstance(names, list) and len(names) == n_points and all(isinstance(name, str) for name in names)
    if not is_list or len({*names}) < n_points:
        raise PellucidError(f"{where}: kpt_names is {value!r:.80}; give a list of {n_points} different names")
    if any(names_of_class != names for names_of_class in lists):
        raise PellucidError(f"{where}: kpt_names differs between the classes; split the data by class")
    return tuple(names)


def parse_flips(settings: Mapping[str, Any], n_points: int, where: str) -> tuple[tuple[int, int], ...] | None:
    """Return the pairs of key-points that flip_idx exchanges, None without flip_idx.

    where: the file, in messages. Raises PellucidError unless each key-point is itself or one of a pair.
    """
    value = settings.get("flip_idx")
    if not value or not n_points:
        return None
    index_by_text = {str(k): k for k in range(n_points)}  # the values are text
    mirrored_indices = (
        [index_by_text.get(item) for item in value if isinstance(item, str)] if isinstance(value, list) else []
    )
    is_mirroring = len(mirrored_indices) == n_points and all(
        k is not None and mirrored_indices[k] == j for j, k in enumerate(mirrored_indices)
    )
    if not is_mirroring:
        raise PellucidError(
            f"{where}: flip_idx is {value!r:.80}; give the index of each of the {n_points} key-points after mirroring, "
            "such as [0, 2, 1] for a nose, a left and a right eye"
        )
    return tuple((j, k) for j, k in enumerate(mirrored_indices) if k is not None and j < k)


SETTINGS_FILE = "data.yaml"


def read(tree: Tree, files: Sequence[str], classes: Sequence[str] | None = None) -> Annotations:
    """Return the annotations of images; an image without a label file has no objects.

    classes: the allowed class names, indexed by label; by default the names in the data set's settings.
    """
    return _YoloReader(tree, classes).annotations(files)


class _YoloReader:
    """Reader of the label files of a data set."""

    def __init__(self, tree: Tree, classes: Sequence[str] | None) -> None:
        self.tree = tree
        self.faults = Faults()
        name = class_file(tree)
        if name is None:
            raise PellucidError(f"{tree.path} has no class names; list them in {CLASS_LIST_FILES[0]}, one on each line")
        self.class_file = tree.where(name)
        text = _document_text(tree, name)
        self.names, self.shape = _parse_settings(text, self.class_file)
        self.settings = _load_settings(text, self.class_file)
        self.point_names = parse_point_names(self.settings, self.shape.n_points, self.class_file)
        self.swaps = parse_flips(self.settings, self.shape.n_points, self.class_file)
        self.classes = tuple(classes or self.names)
        self.labels = {name: label for label, name in enumerate(self.classes)}
        self.readings = BoxReadings(CENTRE_AND_SIZE)
        self.polygon_lines = PolygonLines()

    def annotations(self, files: Sequence[str]) -> Annotations:
        """Return the annotations of images. For a label file without an image, `files` has its own path."""
        self._check_names()
        self._check_folders(files)
        images = [name for name in files if not name.endswith(LABEL_SUFFIX)]
        image_index, paths = ImageIndex(self.tree), set(self.tree.names)
        records: list[ImageRecord] = []
        for k, image in enumerate(images):
            labels = label_file(image)
            where = self.tree.where(labels)
            try:
                size = image_index.size(image)
            except PellucidError as error:
                self.faults.refuse(self.tree.where(image), None, error)
                continue
            try:
                text = _document_text(self.tree, labels) if labels in paths else ""
            except PellucidError as error:
                self.faults.add(where, None, str(error), "refused")
                continue
            records.append(ImageRecord(image, size, self._instances(text, size, where), where, image_id=k + 1))
        for reason in filter(None, (self.readings.fault(), self.polygon_lines.fault())):
            self.faults.add(self.class_file, None, reason, "refused")
        return Annotations(self.classes, tuple(records), self.faults.entries, self.point_names, swaps=self.swaps)

    def _check_names(self) -> None:
        first_indices: dict[str, int] = {}
        for k, name in enumerate(self.names):
            if name not in self.labels:
                reason = f"class {name!r:.60} is not among {join_names(self.classes)}"
                self.faults.add(self.class_file, None, reason, "refused")
            elif first_indices.setdefault(name, k) != k:
                self.faults.add(self.class_file, None, f"class {name!r:.60} is named twice", "refused")

    def _check_folders(self, files: Sequence[str]) -> None:
        """Add the faults of the folders of a part, of the folders in data.yaml, and of label files without an image."""
        images = [name for name in files if not name.endswith(LABEL_SUFFIX)]
        if reason := missing_labels(self.tree, images):
            self.faults.add(self.tree.where(str(PurePosixPath(images[0]).parent)), None, reason, "refused")
        for reason in path_faults(self.settings, self.tree):
            self.faults.add(self.class_file, None, reason, "refused")
        for name in files:
            if name.endswith(LABEL_SUFFIX):
                reason = "has objects, but no image has its name; add the image, or remove the file"
                self.faults.refuse(self.tree.where(name), None, MissingImageError(reason))

    def _instances(self, text: str, size: tuple[int, int], where: str) -> tuple[Instance, ...]:
        """Return the objects in a label file; size: (H, W) of its image."""
        objects: list[Instance] = []
        for number, words in enumerate(map(str.split, text.splitlines()), 1):
            if not words:
                continue
            try:
                line = parse_line(words, size, self.shape, len(self.names))
            except PellucidError as error:
                self.faults.add(where, number, str(error), "refused")
                continue
            if line.box_numbers is not None:
                self.readings.add(line.box_numbers, size)
            elif not self.shape.is_stated:
                self.polygon_lines.add([*map(float, words[1:])])
            box, name = self.faults.clip_box(line.box, size, where, number), self.names[line.label]
            if box is not None and len(objects) == MAX_OBJECTS:
                self.faults.add(where, number, f"image has more than {MAX_OBJECTS} objects", "refused")
            elif box is not None and name in self.labels:
                objects.append(Instance(box, self.labels[name], line.outline, line.points, line=number))
        return tuple(objects)


def written_kinds(annotations: Annotations) -> frozenset[str]:
    """Return the kinds to write: boxes and key-points, else masks if all objects have one, else boxes."""
    if annotations.keypoints:
        return frozenset({"box", "keypoints"})
    return frozenset({"masks" if annotations.has_masks else "box"})


def holds_class(name: str) -> bool:
    """Return whether a class name is the same after it is written to data.yaml and read."""
    try:
        return _parse_settings(yaml.safe_dump({"names": {0: name}}), SETTINGS_FILE)[0] == (name,)
    except (PellucidError, UnicodeError):
        return False


def holds_image(name: str) -> bool:
    """Return True, because label files do not contain the file names of images."""
    return True


def write(parts: Mapping[str, Annotations], out: Path) -> None:
    """Write the label files of each part, with the kinds that `written_kinds` returns, and data.yaml.

    The polygons of one mask are joined into one polygon, see `_join_polygons`.
    """
    for part, annotations in parts.items():
        folder, kinds = make_folder(out / "labels" / part), written_kinds(annotations)
        for record in annotations.records:
            lines = [_format_line(record, instance, kinds, len(annotations.keypoints)) for instance in record.instances]
            name = PurePosixPath(record.image).with_suffix(".txt").name
            write_atomically(folder / name, "".join(f"{line}\n" for line in lines).encode(), durable=False)
    write_atomically(out / SETTINGS_FILE, settings_text(parts).encode())


def class_fault(parts: Mapping[str, Annotations]) -> str:
    """Return the reason if the class names are too long for data.yaml, "" otherwise."""
    n_characters = len(settings_text(parts))
    if n_characters <= MAX_YAML_BYTES:
        return ""
    return f"need {n_characters} characters in {SETTINGS_FILE}, above the limit of {MAX_YAML_BYTES}"


def settings_text(parts: Mapping[str, Annotations]) -> str:
    """Return the text of data.yaml: the folders of the parts, the class names and the number of key-points."""
    annotations = next(iter(parts.values()))
    content: dict[str, Any] = {"path": ".", **{part or "train": f"images/{part}" for part in parts}}
    content["names"] = dict(enumerate(annotations.classes))
    if annotations.keypoints:
        content["kpt_shape"] = [len(annotations.keypoints), 3]
        content["kpt_names"] = {label: [*annotations.keypoints] for label in range(len(annotations.classes))}
        if annotations.swaps is not None:
            partners = dict([*annotations.swaps, *((second, first) for first, second in annotations.swaps)])
            content["flip_idx"] = [partners.get(k, k) for k in range(len(annotations.keypoints))]
    return yaml.safe_dump(content, sort_keys=False)


def _format_line(record: ImageRecord, instance: Instance, kinds: frozenset[str], n_keypoints: int) -> str:
    """Return the line of an object. kinds: see `written_kinds`; n_keypoints: the number of its key-points."""
    height, width = record.size
    x0, y0, x1, y1 = instance.box
    values = [(x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height]
    if "keypoints" in kinds:
        points = instance.points or (0.0,) * (3 * n_keypoints)
        # x, y, visibility
        values += [value / (width, height, 1)[k % 3] for k, value in enumerate(points)]
    elif "masks" in kinds:
        polygons = record.polygons(instance)
        values = [value / (width, height)[k % 2] for k, value in enumerate(_join_polygons(polygons))]
    return " ".join([str(instance.label), *(f"{value:.10g}" for value in values)])


def _join_polygons(polygons: Sequence[Sequence[float]]) -> list[float]:
    """Return several polygons as one; after each, the outline returns to the start of the first polygon."""
    if len(polygons) == 1:
        return [*polygons[0]]
    start = polygons[0][:2]
    return [value for polygon in polygons for value in (*polygon, *polygon[:2], *start)]


def _document_text(tree: Tree, name: str) -> str:
    return decode_text(tree.document(name), tree.where(name))


@lru_cache(maxsize=2)
def _load_settings(text: str, name: str) -> Mapping[str, Any]:
    """Return the content of a settings file, {} for a list of classes; raise PellucidError for invalid YAML."""
    if not name.endswith(YAML_SUFFIXES):
        return {}
    if len(text) > MAX_YAML_BYTES:
        raise PellucidError(
            f"{name} has {len(text)} characters, above the limit of {MAX_YAML_BYTES}; list the classes in "
            f"{CLASS_LIST_FILES[0]}, one on each line"
        )
    try:
        settings = yaml.load(text, Loader=yaml.BaseLoader)  # returns only strings, lists and dicts
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise PellucidError(f"{name} is not YAML: {' '.join(str(error).split())}") from error
    return settings if isinstance(settings, dict) else {}


@lru_cache(maxsize=2)  # the file is parsed for each part of a data set and by its checks
def _parse_settings(text: str, name: str) -> tuple[tuple[str, ...], KeypointShape]:
    """Return the class names and the key-points of an object from a settings file.

    From YAML: `names`, a list or a mapping from label to name, and `kpt_shape: [K, 2 or 3]`. From any other file: one
    class name per line, and no key-points. Raises PellucidError for invalid YAML, names and shapes.
    """
    if not name.endswith(YAML_SUFFIXES):
        return tuple(line.strip() for line in text.splitlines() if line.strip()), KeypointShape()
    settings = _load_settings(text, name)
    names: Any = settings.get("names", [])
    if isinstance(names, dict):
        names = [names.get(str(label)) for label in range(len(names))]
    if not isinstance(names, list) or not all(isinstance(item, str) for item in names):
        raise PellucidError(f"{name}: names must be a list of class names, or a mapping from labels 0, 1, ... to names")
    stated_count: Any = settings.get("nc")
    if isinstance(stated_count, str) and stated_count.isdecimal() and stated_count != str(len(names)):
        raise PellucidError(
            f"{name}: nc is {stated_count:.40}, but names has {plural(len(names), 'class', 'classes')}, "
            f"{join_names(names)}; correct nc, or the names"
        )
    keypoint_shape: Any = settings.get("kpt_shape") or None
    if keypoint_shape is None:
        return tuple(names), KeypointShape()
    match keypoint_shape:
        case [str(count), "2" | "3" as numbers] if count in map(str, range(MAX_KEYPOINTS)):
            return tuple(names), KeypointShape(int(count), int(numbers), is_stated=True)
        case _:
            raise PellucidError(
                f"{name}: kpt_shape is {keypoint_shape!r:.40}; give [K, 3] for K key-points of x, y and visibility, or "
                "[K, 2] for x and y"
            )


FORMAT = AnnotationFormat(
    "yolo", find_parts, read, write, image_path=lambda part, name: str(PurePosixPath("images", part, name)),
    written=written_kinds, masks_as_polygons=True, holds_class=holds_class, holds_image=holds_image,
    class_fault=class_fault, files=label_files,
)  # fmt: skip
