"""COCO's annotation files: one JSON file for a set of images, with boxes, masks and key-points.

Coordinates are continuous, as in `Objects`; category ids may have gaps. Source: cocodataset.org, "Data format".
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from pellucid.base.errors import PellucidError
from pellucid.base.files import decode_text, is_wide_text, make_folder, write_atomically
from pellucid.base.limits import MAX_KEYPOINTS, MAX_OBJECTS
from pellucid.base.text import note_once
from pellucid.data.annotations.base import (
    Annotations,
    Faults,
    ImageRecord,
    Instance,
    join_names,
    parse_numbers,
    parse_outline,
    stated_size,
)
from pellucid.data.annotations.format import AnnotationFormat
from pellucid.data.annotations.images import ImageIndex, group_by_part
from pellucid.data.annotations.readings import CORNER_AND_SIZE, BoxReadings
from pellucid.data.tree import Tree

ROBOFLOW_FILE = "_annotations.coco.json"
MAX_ID_DIGITS = 18  # of an id that is written as text
_LIST_KEYS = ("images", "annotations", "categories")


def find_parts(tree: Tree) -> dict[str, tuple[str, ...]]:
    """Return the annotation files of a tree by part; {} if there are none."""
    names = (name for name in tree.names if PurePosixPath(name).suffix == ".json")
    parts = group_by_part(name for name in names if is_coco(tree.document(name)))
    return {part: _exported_file(tree, files) for part, files in parts.items()}


def _exported_file(tree: Tree, files: tuple[str, ...]) -> tuple[str, ...]:
    """Return Roboflow's file alone, with a note, if others of the same part are beside it, such as a changed copy."""
    exported = tuple(file for file in files if PurePosixPath(file).name == ROBOFLOW_FILE)
    if len(exported) != 1 or len(files) == 1:
        return files
    other_files = [file for file in files if file not in exported]
    note_once(f"{tree.path}: {exported[0]} is read, and not {join_names(other_files)} of the same part")
    return exported


def is_coco(data: bytes) -> bool:
    """Return whether a JSON file, even a damaged one, contains the keys of a COCO annotation file."""
    return has_keys(data, *_LIST_KEYS)


def read(tree: Tree, files: Sequence[str], classes: Sequence[str] | None = None) -> Annotations:
    """Return the annotations of one file.

    classes: the allowed category names, indexed by label; by default the file's categories, ordered by id. Raises
    PellucidError for several files, and for a file that is not in COCO's format.
    """
    if len(files) > 1:
        raise PellucidError(
            f"{tree.path} has several annotation files for one part, {', '.join(files):.200}; leave one of them there"
        )
    return _CocoReader(tree, files[0], classes).annotations()


def read_without_images(tree: Tree, file: str) -> Annotations:
    """Return the annotations of one file, whose images may be anywhere: their paths are the names in the file.

    Raises PellucidError for a file that is not in COCO's format; an image without a size is refused.
    """
    return _CocoReader(tree, file, None, has_images=False).annotations()


def write(parts: Mapping[str, Annotations], out: Path) -> None:
    """Write one JSON file for each part, with boxes, masks and key-points."""
    make_folder(out)
    for part, annotations in parts.items():
        write_atomically(out / f"{part or 'annotations'}.json", json.dumps(document(annotations)).encode())


def document(annotations: Annotations) -> dict[str, Any]:
    """Return annotations as the content of a COCO file; images and categories keep their ids."""
    categories: list[dict[str, Any]] = [
        {"id": category_id, "name": name}
        for category_id, name in zip(annotations.category_ids, annotations.classes, strict=True)
    ]
    if annotations.keypoints:
        categories = [{**category, "keypoints": [*annotations.keypoints], "skeleton": []} for category in categories]
    images = [
        {"id": record.image_id, "file_name": PurePosixPath(record.image).name, "height": h, "width": w}
        for record in annotations.records
        for h, w in [record.size]
    ]
    entries = [
        _annotation_entry(record, instance, annotations.category_ids[instance.label])
        for record in annotations.records
        for instance in record.instances
    ]
    return {
        "images": images,
        "annotations": [{"id": k, **entry} for k, entry in enumerate(entries, 1)],
        "categories": categories,
    }


def _annotation_entry(record: ImageRecord, instance: Instance, category: int) -> dict[str, Any]:
    x0, y0, x1, y1 = instance.box
    entry: dict[str, Any] = {
        "image_id": record.image_id,
        "category_id": category,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": (x1 - x0) * (y1 - y0) if instance.area is None else instance.area,
        "iscrowd": int(instance.crowd),
    }
    if instance.outline is not None:
        rle = {"size": [*record.size], "counts": instance.outline}
        entry["segmentation"] = (
            rle if isinstance(instance.outline, str) else [[*polygon] for polygon in instance.outline]
        )
        if instance.area is None:
            entry["area"] = int(record.mask(instance).sum())
    if instance.points:
        entry |= {"keypoints": [*instance.points], "num_keypoints": sum(value > 0 for value in instance.points[2::3])}
    return entry


class _CocoReader:
    """Reader of one annotation file; has_images: whether its images are in the tree."""

    def __init__(self, tree: Tree, name: str, classes: Sequence[str] | None, has_images: bool = True) -> None:
        self.has_images = has_images
        self.tree, self.name, self.where, self.faults = tree, name, tree.where(name), Faults()
        content = load_json(tree.document(name), self.where)
        for key in _LIST_KEYS:
            if not isinstance(content, dict) or not isinstance(content.get(key), list):
                raise PellucidError(f"{self.where} has no list {key!r}; give a file of COCO's annotations")
        self.images, self.annotation_entries, self.categories = (_with_whole_ids(content[key]) for key in _LIST_KEYS)
        self.expected_classes = classes
        self.category_names: dict[int, str] = {}  # names of categories by id
        self.keypoint_names: tuple[str, ...] = ()
        self.readings = BoxReadings(CORNER_AND_SIZE)
        self.refused_images: set[int] = set()  # ids; annotations of these images are skipped without a fault

    def annotations(self) -> Annotations:
        """Return the annotations in the file."""
        self._read_categories()
        classes = tuple(self.expected_classes or self.category_names.values())
        label_by_name = {name: k for k, name in enumerate(classes)}
        # By category id.
        self.labels = {key: label_by_name[name] for key, name in self.category_names.items() if name in label_by_name}
        images = self._read_images()
        instances_by_image: dict[int, list[Instance]] = {image_id: [] for image_id in images}
        seen_ids: set[int] = set()
        for entry in self._valid_dicts(self.annotation_entries, "annotation"):
            annotation_id, image_id = entry.get("id"), entry.get("image_id")
            if type(image_id) is int and image_id in self.refused_images:
                continue
            try:
                if type(annotation_id) is int and annotation_id in seen_ids:
                    raise PellucidError("has the same id as another annotation")
                instance = self._instance(entry, images)
            except PellucidError as error:
                self._refuse("annotation", entry, str(error))
                continue
            if instance is not None and len(instances_by_image[entry["image_id"]]) == MAX_OBJECTS:
                self._refuse("image", {"id": entry["image_id"]}, f"has more than {MAX_OBJECTS} objects")
            elif instance is not None:
                instances_by_image[entry["image_id"]].append(instance)
            if type(annotation_id) is int:
                seen_ids.add(annotation_id)
        if reason := self.readings.fault():
            self.faults.add(self.where, None, reason, "refused")
        records = tuple(
            ImageRecord(image, size, tuple(instances_by_image[image_id]), self.where, image_id)
            for image_id, (image, size) in images.items()
        )
        category_id_by_name = {name: category_id for category_id, name in self.category_names.items()}
        # classes that the file does not list
        unlisted_names = (name for name in classes if name not in category_id_by_name)
        for new_id, name in enumerate(unlisted_names, max(category_id_by_name.values(), default=0) + 1):
            category_id_by_name[name] = new_id
        category_ids = tuple(category_id_by_name[name] for name in classes)
        return Annotations(classes, records, self.faults.entries, self.keypoint_names, category_ids)

    def _read_categories(self) -> None:
        allowed_names = None if self.expected_classes is None else set(self.expected_classes)
        seen_names: set[str] = set()
        categories = self._valid_dicts(self.categories, "category")
        unused_parents = self._unused_parents(categories)
        for category in categories:
            if category.get("name") in unused_parents:
                continue
            category_id, name, keypoint_names = category.get("id"), category.get("name"), category.get("keypoints")
            if (
                type(category_id) is not int
                or not isinstance(name, str)
                or category_id in self.category_names
                or name in seen_names
            ):
                self._refuse("category", category, "needs a unique integer id and a unique name")
                continue
            if allowed_names is not None and name not in allowed_names:
                self._refuse(
                    "category", category, f"{name!r:.60} is not among {join_names(self.expected_classes or ())}"
                )
                continue
            self.category_names[category_id] = name
            seen_names.add(name)
            if keypoint_names:
                if not isinstance(keypoint_names, list) or not all(
                    isinstance(point_name, str) for point_name in keypoint_names
                ):
                    self._refuse("category", category, "has keypoints that are not a list of names")
                elif self.keypoint_names and tuple(keypoint_names) != self.keypoint_names:
                    self._refuse("category", category, "has different keypoints from another category; split the file")
                elif len(keypoint_names) <= MAX_KEYPOINTS:
                    self.keypoint_names = tuple(keypoint_names)
        self.category_names = dict(sorted(self.category_names.items()))

    def _unused_parents(self, categories: list[dict[str, Any]]) -> list[str]:
        """Return the super-categories of other categories that have no objects, such as Roboflow's id 0.

        They are no classes, unless they are expected.
        """
        used_ids = [entry.get("category_id") for entry in self.annotation_entries if isinstance(entry, dict)]
        used_ids = {category_id for category_id in used_ids if type(category_id) is int}
        parents = {
            category["supercategory"]
            for category in categories
            if isinstance(category.get("supercategory"), str) and category["supercategory"] != category.get("name")
        }
        parents -= {*(self.expected_classes or ())}
        names_and_ids = [(category.get("name"), category.get("id")) for category in categories]
        unused_names = [
            name
            for name, category_id in names_and_ids
            if type(category_id) is int and category_id not in used_ids and isinstance(name, str)
        ]
        return [name for name in unused_names if name in parents]

    def _read_images(self) -> dict[int, tuple[str, tuple[int, int]]]:
        """Return the path in the tree and the size (H, W) of each image by id."""
        image_index, images = ImageIndex(self.tree), dict[int, tuple[str, tuple[int, int]]]()
        for entry in self._valid_dicts(self.images, "image"):
            image_id, name = entry.get("id"), entry.get("file_name")
            if type(image_id) is not int or image_id in images or not isinstance(name, str):
                self._refuse("image", entry, "needs a unique integer id and a file_name")
                continue
            try:
                file = image_index.find_by_name(name, self.name) if self.has_images else name.replace("\\", "/")
                images[image_id] = file, stated_size(entry.get("height"), entry.get("width")) or image_index.size(file)
            except PellucidError as error:
                self.faults.refuse(f"{self.where}, {_entry_name('image', entry)}", None, error)
                self.refused_images.add(image_id)
        return images

    def _instance(self, entry: dict[str, Any], images: dict[int, tuple[str, tuple[int, int]]]) -> Instance | None:
        """Return one object, None if its box is empty or outside the image; raise PellucidError for invalid values."""
        image_id, category_id, crowd = entry.get("image_id"), entry.get("category_id"), entry.get("iscrowd", 0)
        if type(image_id) is not int or image_id not in images:
            raise PellucidError(f"has image_id {image_id!r:.40}, which no image has")
        if type(category_id) is not int or category_id not in self.labels:
            raise PellucidError(f"has category_id {category_id!r:.40}, which no category has")
        position_and_size, size = parse_numbers(entry.get("bbox"), 4), images[image_id][1]
        if position_and_size is None:
            raise PellucidError(f"has bbox {entry.get('bbox')!r:.60}; give x, y, width, height")
        if crowd not in (0, 1):
            raise PellucidError(f"has iscrowd {crowd!r:.40}; give 0 or 1")
        area = (None,) if entry.get("area") is None else parse_numbers([entry["area"]])
        if area is None or (area[0] or 0) < 0:
            raise PellucidError(f"has area {entry['area']!r:.40}; give square pixels, or leave it out")
        points = self._points(entry)
        outline = parse_outline(entry["segmentation"], size) if entry.get("segmentation") else None
        x, y, width, height = position_and_size
        self.readings.add((x, y, width, height), size)
        where = f"{self.where}, {_entry_name('annotation', entry)}"
        box = self.faults.clip_box((x, y, x + width, y + height), size, where, None)
        if box is None:
            return None
        return Instance(box, self.labels[category_id], outline, points, bool(crowd), area=area[0])

    def _points(self, entry: dict[str, Any]) -> tuple[float, ...]:
        """Return the key-points of an annotation, () if it has none; raise PellucidError for invalid values."""
        if not entry.get("keypoints"):
            return ()
        if pairs := parse_numbers(entry["keypoints"], 2 * len(self.keypoint_names)):
            note_once(f"{self.where}: the key-points have no visibility; all but those at 0, 0 are read as visible")
            positions = zip(pairs[::2], pairs[1::2], strict=True)
            return tuple(value for x, y in positions for value in (x, y, 2.0 if (x, y) != (0, 0) else 0.0))
        points = parse_numbers(entry["keypoints"], 3 * len(self.keypoint_names))
        if points is None or not set(points[2::3]) <= {0, 1, 2}:
            raise PellucidError(
                f"keypoints are not x, y and visibility (0, 1 or 2) of the {len(self.keypoint_names)} points of its "
                "category"
            )
        return tuple(value if points[k - k % 3 + 2] else 0.0 for k, value in enumerate(points))

    def _valid_dicts(self, entries: list[Any], kind: str) -> list[dict[str, Any]]:
        for k, entry in enumerate(entries):
            if not isinstance(entry, dict):
                self.faults.add(f"{self.where}, {kind} {k}", None, f"is {entry!r:.40}, not a JSON object", "refused")
        return [entry for entry in entries if isinstance(entry, dict)]

    def _refuse(self, kind: str, entry: dict[str, Any], reason: str) -> None:
        self.faults.add(f"{self.where}, {_entry_name(kind, entry)}", None, reason, "refused")


def _entry_name(kind: str, entry: dict[str, Any]) -> str:
    return f"{kind} {entry.get('id')!r:.40}"


def has_keys(data: bytes, *keys: str) -> bool:
    """Return whether all of these keys occur in a JSON file, even in a damaged one."""
    if is_wide_text(data):  # the characters of a key have two or four bytes, of which only one is not 0
        data = data.replace(b"\0", b"")
    return all(f'"{key}"'.encode() in data for key in keys)


def _with_whole_ids(entries: list[Any]) -> list[Any]:
    """Return entries whose ids are whole numbers, also those that a script wrote as text, such as "7", or as 7.0."""
    for entry in filter(lambda entry: isinstance(entry, dict), entries):
        for key in ("id", "image_id", "category_id"):
            value = entry.get(key)
            is_text = isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= MAX_ID_DIGITS
            if is_text or (isinstance(value, float) and value.is_integer()):
                entry[key] = int(value)
    return entries


def load_json(data: bytes, where: str) -> Any:
    """Return the parsed content of a JSON file; raise PellucidError, with the reason, if it is invalid."""
    try:
        return json.loads(decode_text(data, where))
    except (ValueError, RecursionError) as error:  # ValueError: also integers with too many digits
        raise PellucidError(f"{where} is not JSON ({error}); correct the file") from error


FORMAT = AnnotationFormat("coco", find_parts, read, write, image_path=lambda part, name: f"{part or 'images'}/{name}")
