"""YOLO text: one text file for each image with one line of numbers for each object, and a file of class names.

A line is the class and a box (centre x, centre y, width, height), or a polygon, or a box and key-points (x, y,
visibility), with coordinates as fractions of the image's width and height. The box of a polygon is its bounding box.
Source: docs.ultralytics.com/datasets.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from pellucid.data.annotations.base import (
    MAX_OBJECTS,
    Annotations,
    BoxCorners,
    DamageError,
    Faults,
    ImageRecord,
    Instance,
    join_names,
    parse_numbers,
    parse_polygons,
)
from pellucid.data.annotations.format import AnnotationFormat
from pellucid.data.annotations.images import ImageIndex, group_images_by_part
from pellucid.data.tree import Tree
from pellucid.errors import PellucidError
from pellucid.files import decode_text, make_folder, write_atomically

SETTINGS_FILE = "data.yaml"
MAX_SETTINGS_BYTES = 128 << 10  # of a YAML file; reading takes about 15 seconds per MB
MAX_FRACTION = 2.0  # of the image's size; a larger coordinate is in another unit, such as pixels
# names of files with one class name per line
_CLASS_LIST_FILES = ("classes.txt", "obj.names", "classes.names")


def find_parts(tree: Tree) -> dict[str, tuple[str, ...]]:
    """Return the images of a tree by part; {} for a tree without class names or without label files."""
    if not any(_is_class_file(name) for name in tree.names):
        return {}
    images, paths = ImageIndex(tree).images, set(tree.names)
    labelled = [name for name in images if _label_file(name) in paths]
    folders = {PurePosixPath(name).parent for name in labelled}
    return group_images_by_part(name for name in images if PurePosixPath(name).parent in folders)


def read(tree: Tree, files: Sequence[str], classes: Sequence[str] | None = None) -> Annotations:
    """Return the annotations of images; an image without a label file has no objects.

    classes: the allowed class names, indexed by label; by default the names in the data set's settings.
    """
    class_file = next(name for name in tree.names if _is_class_file(name))
    names, n_keypoints = _parse_settings(_text(tree, class_file), tree.where(class_file))
    faults, image_index, paths = Faults(), ImageIndex(tree), set(tree.names)
    class_order = tuple(classes or names)
    label_of = {name: label for label, name in enumerate(class_order)}
    first_indices: dict[str, int] = {}
    for k, name in enumerate(names):
        if name not in label_of:
            faults.add(
                tree.where(class_file), None, f"class {name!r:.60} is not among {join_names(class_order)}", "refused"
            )
        elif first_indices.setdefault(name, k) != k:
            faults.add(tree.where(class_file), None, f"class {name!r:.60} is named twice", "refused")
    records: list[ImageRecord] = []
    for k, image in enumerate(files):
        label_file = _label_file(image)
        try:
            size = image_index.size(image)
        except PellucidError as error:
            faults.add(tree.where(image), None, str(error), "refused")
            continue
        objects: list[Instance] = []
        try:
            text = _text(tree, label_file) if label_file in paths else ""
        except PellucidError as error:
            faults.add(tree.where(label_file), None, str(error), "refused")
            continue
        for line, words in enumerate(text.splitlines(), 1):
            try:
                label, box, outline, keypoints = _parse_line(words.split(), size, n_keypoints, len(names))
            except PellucidError as error:
                faults.add(tree.where(label_file), line, str(error), "refused")
                continue
            clipped_box = None if box is None else faults.clip_box(box, size, tree.where(label_file), line)
            if clipped_box is not None and len(objects) == MAX_OBJECTS:
                faults.add(tree.where(label_file), line, f"image has more than {MAX_OBJECTS} objects", "refused")
            elif clipped_box is not None and names[label] in label_of:
                objects.append(Instance(clipped_box, label_of[names[label]], outline, keypoints, line=line))
        records.append(ImageRecord(image, size, tuple(objects), tree.where(label_file), k + 1))
    point_names = tuple(f"p{k}" for k in range(n_keypoints))
    return Annotations(class_order, tuple(records), faults.entries, point_names, tuple(range(1, len(class_order) + 1)))


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
    size = len(settings_text(parts))
    if size <= MAX_SETTINGS_BYTES:
        return ""
    return f"need {size} characters in {SETTINGS_FILE}, above the limit of {MAX_SETTINGS_BYTES}"


def settings_text(parts: Mapping[str, Annotations]) -> str:
    """Return the text of data.yaml: the folders of the parts, the class names and the number of key-points."""
    first = next(iter(parts.values()))
    content: dict[str, Any] = {"path": ".", **{part or "train": f"images/{part}" for part in parts}}
    content["names"] = dict(enumerate(first.classes))
    if first.keypoints:
        content["kpt_shape"] = [len(first.keypoints), 3]
    return yaml.safe_dump(content, sort_keys=False)


def _format_line(record: ImageRecord, instance: Instance, written: frozenset[str], n_keypoints: int) -> str:
    """Return the line of an object. written: see `written_kinds`; n_keypoints: the number of its key-points."""
    height, width = record.size
    x0, y0, x1, y1 = instance.box
    values = [(x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height]
    if "keypoints" in written:
        points = instance.points or (0.0,) * (3 * n_keypoints)
        values += [value / (width, height, 1)[k % 3] for k, value in enumerate(points)]
    elif "masks" in written:
        polygons = record.polygons(instance)
        values = [value / (width, height)[k % 2] for k, value in enumerate(_join_polygons(polygons))]
    return " ".join([str(instance.label), *(f"{value:.10g}" for value in values)])


def _join_polygons(polygons: Sequence[Sequence[float]]) -> list[float]:
    """Return several polygons as one; after each, the outline returns to the start of the first polygon."""
    if len(polygons) == 1:
        return [*polygons[0]]
    start = polygons[0][:2]
    return [value for polygon in polygons for value in (*polygon, *polygon[:2], *start)]


def _parse_line(
    words: list[str], size: tuple[int, int], n_keypoints: int, n_classes: int
) -> tuple[int, BoxCorners | None, tuple[tuple[float, ...], ...] | None, tuple[float, ...]]:
    """Return the label, box, polygons and key-points of a line; raise DamageError for an invalid line.

    size: (H, W) of the image; n_classes, n_keypoints: see `_parse_settings`. The box is None for an empty line.
    """
    if not words:
        return 0, None, None, ()
    label, values = _parse_number(words[0]), parse_numbers([_parse_number(word) for word in words])
    if label is None or not label.is_integer() or not 0 <= label < n_classes:
        raise DamageError(f"class {words[0]!r:.40} is not an integer from 0 to {n_classes - 1}")
    if values is None:
        raise DamageError(f"{' '.join(words)!r:.80} are not finite numbers separated by spaces")
    if (largest := max(values[1:5], default=0.0)) > MAX_FRACTION:
        raise DamageError(f"coordinate {largest:g} is not a fraction of the image's width or height, 0 to 1")
    (height, width), coordinates = size, values[1:]
    if len(coordinates) == 4 + 3 * n_keypoints:
        x, y, w, h = coordinates[0] * width, coordinates[1] * height, coordinates[2] * width, coordinates[3] * height
        keypoints = tuple(value * (width, height, 1)[k % 3] for k, value in enumerate(coordinates[4:]))
        if not set(keypoints[2::3]) <= {0, 1, 2}:
            raise DamageError("visibility of a key-point is not 0, 1 or 2")
        return int(label), (x - w / 2, y - h / 2, x + w / 2, y + h / 2), None, keypoints
    if len(coordinates) >= 6 and len(coordinates) % 2 == 0 and not n_keypoints:
        polygon = [value * (width, height)[k % 2] for k, value in enumerate(coordinates)]
        outline = parse_polygons([polygon], size)
        box = (min(polygon[::2]), min(polygon[1::2]), max(polygon[::2]), max(polygon[1::2]))
        return int(label), box, outline, ()
    expected = "a box" if n_keypoints == 0 else f"a box and {n_keypoints} key-points"
    raise DamageError(f"{len(words)} numbers are neither a class with {expected} nor one with a polygon")


def _text(tree: Tree, name: str) -> str:
    return decode_text(tree.document(name), tree.where(name))


def _parse_number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None


def _label_file(image: str) -> str:
    """Return the path of an image's label file: in labels/ instead of images/, or in the image's folder."""
    path = PurePosixPath(image).with_suffix(".txt")
    indices = [k for k, folder in enumerate(path.parts[:-1]) if folder == "images"]
    if not indices:
        return str(path)
    return str(PurePosixPath(*path.parts[: indices[-1]], "labels", *path.parts[indices[-1] + 1 :]))


def _is_class_file(name: str) -> bool:
    path = PurePosixPath(name)
    return path.name in _CLASS_LIST_FILES or path.name in ("data.yaml", "data.yml", "dataset.yaml")


@lru_cache(maxsize=2)  # the file is parsed for each part of a data set and by its checks
def _parse_settings(text: str, name: str) -> tuple[tuple[str, ...], int]:
    """Return the class names and the number of key-points from a settings file.

    From YAML: `names`, a list or a mapping from label to name, and `kpt_shape: [K, 3]`. From any other file: one class
    name per line, and no key-points. Raises PellucidError for invalid YAML and for invalid names.
    """
    if not name.endswith((".yaml", ".yml")):
        return tuple(line.strip() for line in text.splitlines() if line.strip()), 0
    if len(text) > MAX_SETTINGS_BYTES:
        raise PellucidError(
            f"{name} has {len(text)} characters, above the limit of {MAX_SETTINGS_BYTES}; list the classes in "
            f"{_CLASS_LIST_FILES[0]}, one on each line"
        )
    try:
        settings = yaml.load(text, Loader=yaml.BaseLoader)  # returns only strings, lists and dicts
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise PellucidError(f"{name} is not YAML: {' '.join(str(error).split())}") from error
    settings = settings if isinstance(settings, dict) else {}
    names: Any = settings.get("names", [])
    if isinstance(names, dict):
        names = [names.get(str(label)) for label in range(len(names))]
    if not isinstance(names, list) or not all(isinstance(item, str) for item in names):
        raise PellucidError(f"{name}: names must be a list of class names, or a mapping from labels 0, 1, ... to names")
    keypoint_shape = settings.get("kpt_shape", [])
    n_keypoints = (
        keypoint_shape[0]
        if isinstance(keypoint_shape, list) and len(keypoint_shape) == 2 and keypoint_shape[1] == "3"
        else "0"
    )
    return tuple(names), int(n_keypoints) if n_keypoints in map(str, range(1000)) else 0


FORMAT = AnnotationFormat(
    "yolo", find_parts, read, write, lambda part, name: str(PurePosixPath("images", part, name)), written_kinds,
    masks_as_polygons=True, holds_class=holds_class, holds_image=holds_image, class_fault=class_fault,
)  # fmt: skip
