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
    joined,
    numbers,
    polygons_of,
)
from pellucid.data.annotations.format import AnnotationFormat
from pellucid.data.annotations.images import ImageIndex, by_part
from pellucid.data.tree import Tree
from pellucid.errors import PellucidError
from pellucid.files import make_folder, write_atomically

SETTINGS = "data.yaml"
MAX_SETTINGS_BYTES = 128 << 10  # of a YAML file; reading takes some 15 seconds for each MB
MAX_FRACTION = 2.0  # of the image's size; a larger coordinate is in another unit, such as pixels
# names of files with one class name per line
_LISTS = ("classes.txt", "obj.names", "classes.names")


def parts(tree: Tree) -> dict[str, tuple[str, ...]]:
    """Return the images of a tree by part; {} for a tree without class names or without label files."""
    if not any(_has_names(name) for name in tree.names):
        return {}
    images, paths = ImageIndex(tree).images, set(tree.names)
    labelled = [name for name in images if _label_file(name) in paths]
    folders = {PurePosixPath(name).parent for name in labelled}
    return by_part(name for name in images if PurePosixPath(name).parent in folders)


def read(tree: Tree, files: Sequence[str], classes: Sequence[str] | None = None) -> Annotations:
    """Return the annotations of images; an image without a label file has no objects.

    classes: the allowed class names, indexed by label; by default those of the data set's settings.
    """
    listed = next(name for name in tree.names if _has_names(name))
    names, points = _settings(tree.document(listed).decode("utf-8", "replace"), tree.where(listed))
    faults, index, paths = Faults(), ImageIndex(tree), set(tree.names)
    order = tuple(classes or names)
    label_of = {name: label for label, name in enumerate(order)}
    first: dict[str, int] = {}
    for k, name in enumerate(names):
        if name not in label_of:
            faults.add(tree.where(listed), None, f"class {name!r:.60} is not among {joined(order)}", "refused")
        elif first.setdefault(name, k) != k:
            faults.add(tree.where(listed), None, f"class {name!r:.60} is named twice", "refused")
    records: list[ImageRecord] = []
    for k, image in enumerate(files):
        labels = _label_file(image)
        try:
            size = index.size(image)
        except PellucidError as error:
            faults.add(tree.where(image), None, str(error), "refused")
            continue
        objects: list[Instance] = []
        text = tree.document(labels).decode("utf-8", "replace") if labels in paths else ""
        for line, words in enumerate(text.splitlines(), 1):
            try:
                label, box, outline, keypoints = _values(words.split(), size, points, len(names))
            except PellucidError as error:
                faults.add(tree.where(labels), line, str(error), "refused")
                continue
            inner = None if box is None else faults.box(box, size, tree.where(labels), line)
            if inner is not None and len(objects) == MAX_OBJECTS:
                faults.add(tree.where(labels), line, f"image has more than {MAX_OBJECTS} objects", "refused")
            elif inner is not None and names[label] in label_of:
                objects.append(Instance(inner, label_of[names[label]], outline, keypoints, line=line))
        records.append(ImageRecord(image, size, tuple(objects), tree.where(labels), k + 1))
    point_names = tuple(f"p{k}" for k in range(points))
    return Annotations(order, tuple(records), faults.listed, point_names, tuple(range(1, len(order) + 1)))


def written(annotations: Annotations) -> frozenset[str]:
    """Return what is written of annotations: boxes and key-points, else masks if all objects have one, else boxes."""
    if annotations.keypoints:
        return frozenset({"box", "keypoints"})
    return frozenset({"masks" if annotations.has_masks else "box"})


def holds_class(name: str) -> bool:
    """Return whether a class name in data.yaml is read as it is written."""
    try:
        return _settings(yaml.safe_dump({"names": {0: name}}), SETTINGS)[0] == (name,)
    except (PellucidError, UnicodeError):
        return False


def holds_image(name: str) -> bool:
    """Return True: the file names of images are not written."""
    return True


def write(parts: Mapping[str, Annotations], out: Path) -> None:
    """Write the label files of each part, with what `written` returns, and data.yaml.

    Several polygons of one mask are joined by lines that are drawn forth and back.
    """
    for part, annotations in parts.items():
        folder, kinds = make_folder(out / "labels" / part), written(annotations)
        for record in annotations.records:
            lines = [_line(record, instance, kinds, len(annotations.keypoints)) for instance in record.instances]
            name = PurePosixPath(record.image).with_suffix(".txt").name
            write_atomically(folder / name, "".join(f"{line}\n" for line in lines).encode(), durable=False)
    write_atomically(out / SETTINGS, settings(parts).encode())


def class_fault(parts: Mapping[str, Annotations]) -> str:
    """Return why the class names do not fit into data.yaml, "" if they do."""
    size = len(settings(parts))
    if size <= MAX_SETTINGS_BYTES:
        return ""
    return f"need {size} characters in {SETTINGS}, above the limit of {MAX_SETTINGS_BYTES}"


def settings(parts: Mapping[str, Annotations]) -> str:
    """Return the text of data.yaml: the folders of the parts, the class names and the number of key-points."""
    first = next(iter(parts.values()))
    content: dict[str, Any] = {"path": ".", **{part or "train": f"images/{part}" for part in parts}}
    content["names"] = dict(enumerate(first.classes))
    if first.keypoints:
        content["kpt_shape"] = [len(first.keypoints), 3]
    return yaml.safe_dump(content, sort_keys=False)


def _line(record: ImageRecord, instance: Instance, kinds: frozenset[str], keypoints: int) -> str:
    """Return the line of an object. kinds: what is written of it; keypoints: the number of key-points of an object."""
    height, width = record.size
    x0, y0, x1, y1 = instance.box
    values = [(x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height]
    if "keypoints" in kinds:
        points = instance.points or (0.0,) * (3 * keypoints)
        values += [value / (width, height, 1)[k % 3] for k, value in enumerate(points)]
    elif "masks" in kinds:
        polygons = record.polygons(instance)
        values = [value / (width, height)[k % 2] for k, value in enumerate(_joined(polygons))]
    return " ".join([str(instance.label), *(f"{value:.10g}" for value in values)])


def _joined(polygons: Sequence[Sequence[float]]) -> list[float]:
    """Return several polygons as one; after each, the outline returns to the start of the first polygon."""
    if len(polygons) == 1:
        return [*polygons[0]]
    start = polygons[0][:2]
    return [value for polygon in polygons for value in (*polygon, *polygon[:2], *start)]


def _values(
    words: list[str], size: tuple[int, int], points: int, classes: int
) -> tuple[int, BoxCorners | None, tuple[tuple[float, ...], ...] | None, tuple[float, ...]]:
    """Return the label, box, polygons and key-points of a line; raise DamageError for an invalid line.

    size: (H, W) of the image; points, classes: the numbers of key-points and classes. The box is None for an empty
    line.
    """
    if not words:
        return 0, None, None, ()
    label, values = _number(words[0]), numbers([_number(word) for word in words])
    if label is None or not label.is_integer() or not 0 <= label < classes:
        raise DamageError(f"class {words[0]!r:.40} is not an integer from 0 to {classes - 1}")
    if values is None:
        raise DamageError(f"{' '.join(words)!r:.80} are not finite numbers separated by spaces")
    if (largest := max(values[1:5], default=0.0)) > MAX_FRACTION:
        raise DamageError(f"coordinate {largest:g} is not a fraction of the image's width or height, 0 to 1")
    (height, width), coordinates = size, values[1:]
    if len(coordinates) == 4 + 3 * points:
        x, y, w, h = coordinates[0] * width, coordinates[1] * height, coordinates[2] * width, coordinates[3] * height
        keypoints = tuple(value * (width, height, 1)[k % 3] for k, value in enumerate(coordinates[4:]))
        if not set(keypoints[2::3]) <= {0, 1, 2}:
            raise DamageError("visibility of a key-point is not 0, 1 or 2")
        return int(label), (x - w / 2, y - h / 2, x + w / 2, y + h / 2), None, keypoints
    if len(coordinates) >= 6 and len(coordinates) % 2 == 0 and not points:
        polygon = [value * (width, height)[k % 2] for k, value in enumerate(coordinates)]
        outline = polygons_of([polygon], size)
        box = (min(polygon[::2]), min(polygon[1::2]), max(polygon[::2]), max(polygon[1::2]))
        return int(label), box, outline, ()
    expected = "a box" if points == 0 else f"a box and {points} key-points"
    raise DamageError(f"{len(words)} numbers are neither a class with {expected} nor one with a polygon")


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None


def _label_file(image: str) -> str:
    """Return the path of an image's label file: in labels/ instead of images/, or beside the image."""
    path = PurePosixPath(image).with_suffix(".txt")
    indices = [k for k, folder in enumerate(path.parts[:-1]) if folder == "images"]
    if not indices:
        return str(path)
    return str(PurePosixPath(*path.parts[: indices[-1]], "labels", *path.parts[indices[-1] + 1 :]))


def _has_names(name: str) -> bool:
    path = PurePosixPath(name)
    return path.name in _LISTS or path.name in ("data.yaml", "data.yml", "dataset.yaml")


@lru_cache(maxsize=2)  # both parts of a data set, and their checks, read the same file
def _settings(text: str, name: str) -> tuple[tuple[str, ...], int]:
    """Return the class names and the number of key-points from a settings file.

    From YAML: `names`, a list or a mapping from label to name, and `kpt_shape: [K, 3]`. From any other file: one class
    name per line, and no key-points. Raises PellucidError for invalid YAML and for invalid names.
    """
    if not name.endswith((".yaml", ".yml")):
        return tuple(line.strip() for line in text.splitlines() if line.strip()), 0
    if len(text) > MAX_SETTINGS_BYTES:
        raise PellucidError(
            f"{name} has {len(text)} characters, above the limit of {MAX_SETTINGS_BYTES}; list the classes in "
            f"{_LISTS[0]}, one on each line"
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
    shape = settings.get("kpt_shape", [])
    points = shape[0] if isinstance(shape, list) and len(shape) == 2 and shape[1] == "3" else "0"
    return tuple(names), int(points) if points in map(str, range(1000)) else 0


FORMAT = AnnotationFormat(
    "yolo", parts, read, write, lambda part, name: str(PurePosixPath("images", part, name)), written,
    masks_as_polygons=True, holds_class=holds_class, holds_image=holds_image, class_fault=class_fault,
)  # fmt: skip
