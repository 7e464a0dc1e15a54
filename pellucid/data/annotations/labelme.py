"""labelme: one JSON file for each image, with rectangles, polygons, circles and points.

Shapes with the same group_id and label describe one object, as in labelme's own exports: its box and the polygons of
its mask; a circle is read as a polygon. Points with this group_id are its key-points, named by their labels. In a file
with points only, those of one group_id, or all without one, are an object of the class POINTS_CLASS with a box around
them. The flag "crowd" of a shape sets `Objects.crowd`; the flag "hidden" of a point means visibility 1. The label
__ignore__ marks pixels without a class. Source: github.com/wkentaro/labelme.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

from pellucid.base.errors import PellucidError
from pellucid.base.files import make_folder, write_atomically
from pellucid.base.limits import MAX_KEYPOINTS, MAX_OBJECTS
from pellucid.data.annotations.base import (
    Annotations,
    DamageError,
    Faults,
    ImageRecord,
    Instance,
    Polygons,
    join_names,
    parse_numbers,
    parse_polygons,
    stated_size,
)
from pellucid.data.annotations.coco import has_keys, load_json
from pellucid.data.annotations.format import ALL_KINDS, AnnotationFormat
from pellucid.data.annotations.images import ImageIndex, group_images_by_part
from pellucid.data.annotations.point_boxes import POINTS_CLASS, box_around
from pellucid.data.annotations.readings import CORNERS, BoxReadings
from pellucid.data.mask_classes import IGNORE
from pellucid.data.tree import Tree

_VERSION = "5.2.1"  # of labelme's format
CIRCLE_VERTICES = 64  # of the polygon for a circle
_Shapes = list[tuple[int, dict[str, Any]]]  # shapes with their indices in the file


def find_parts(tree: Tree) -> dict[str, tuple[str, ...]]:
    """Return the labelme files of a tree by part."""
    files = (name for name in tree.names if PurePosixPath(name).suffix == ".json")
    return group_images_by_part(name for name in files if has_keys(tree.document(name), "shapes"))


def read(tree: Tree, files: Sequence[str], classes: Sequence[str] | None = None) -> Annotations:
    """Return the annotations in labelme's files.

    classes: the allowed class names, indexed by label; by default all names in the files, sorted.
    """
    faults, image_index = Faults(), ImageIndex(tree)
    content_by_file: dict[str, tuple[str, tuple[int, int], list[_Shapes], _Shapes]] = {}
    point_names: set[str] = set()
    class_names: set[str] = set()
    for name in files:
        where = tree.where(name)
        try:
            image, size, shapes = _read_file(tree, name, image_index)
        except PellucidError as error:
            faults.refuse(where, None, error)
            continue
        valid_shapes = _valid_shapes(shapes, where, faults)
        void_shapes = [(k, shape) for k, shape in valid_shapes if shape["label"] == IGNORE]
        groups = _group_shapes([(k, shape) for k, shape in valid_shapes if shape["label"] != IGNORE], where, faults)
        content_by_file[name] = image, size, groups, void_shapes
        for group in groups:
            point_names |= {shape["label"] for _, shape in group if shape["shape_type"] == "point"}
            class_names |= {shape["label"] for _, shape in group if shape["shape_type"] != "point"} or {POINTS_CLASS}
    keypoint_names = sorted(point_names, key=_number_order)
    if len(keypoint_names) > MAX_KEYPOINTS:
        raise PellucidError(
            f"{tree.path} names {len(keypoint_names)} key-points, above the limit of {MAX_KEYPOINTS}; split it"
        )
    class_order = tuple(classes or sorted(class_names))
    label_by_name = {name: k for k, name in enumerate(class_order)}
    keypoint_indices = {name: k for k, name in enumerate(keypoint_names)}
    records: list[ImageRecord] = []
    readings = BoxReadings(CORNERS)
    for k, (name, (image, size, groups, void_shapes)) in enumerate(content_by_file.items()):
        instances: list[Instance] = []
        for group in groups:
            where = f"{tree.where(name)}, shape {group[0][0]}"
            try:
                instance = _instance(group, size, label_by_name, keypoint_indices)
            except PellucidError as error:
                faults.add(where, None, str(error), "refused")
                continue
            readings.add(instance.box, size)
            box = faults.clip_box(instance.box, size, where, None)
            if box is not None and len(instances) == MAX_OBJECTS:
                faults.add(where, None, f"{image} has more than {MAX_OBJECTS} objects", "refused")
            elif box is not None:
                instances.append(Instance(box, instance.label, instance.outline, instance.points, instance.crowd))
        void_polygons = _void_polygons(void_shapes, size, tree.where(name), faults)
        records.append(ImageRecord(image, size, tuple(instances), tree.where(name), image_id=k + 1, void=void_polygons))
    if reason := readings.fraction_fault():
        faults.add(str(tree.path), None, reason, "refused")
    return Annotations(class_order, tuple(records), faults.entries, tuple(keypoint_names))


def write(parts: Mapping[str, Annotations], out: Path) -> None:
    """Write one file for each image, into the image's folder; COCO's ids are not written."""
    for part, annotations in parts.items():
        folder = make_folder(out / part)
        for record in annotations.records:
            name = PurePosixPath(record.image)
            shapes = [
                shape
                for k, instance in enumerate(record.instances)
                for shape in _instance_shapes(record, instance, annotations, k)
            ]
            n_groups = len(record.instances)
            shapes += [
                _shape(IGNORE, "polygon", [*zip(polygon[::2], polygon[1::2], strict=True)], n_groups + k, {})
                for k, polygon in enumerate(record.void)
            ]
            content = {
                "version": _VERSION,
                "flags": {},
                "shapes": shapes,
                "imagePath": name.name,
                "imageData": None,
                "imageHeight": record.size[0],
                "imageWidth": record.size[1],
            }
            path = folder / name.with_suffix(".json").name
            write_atomically(path, json.dumps(content, indent=1).encode(), durable=False)


def _instance_shapes(
    record: ImageRecord, instance: Instance, annotations: Annotations, group: int
) -> list[dict[str, Any]]:
    x0, y0, x1, y1 = instance.box
    label, flags = annotations.classes[instance.label], {"crowd": True} if instance.crowd else {}
    shapes = [_shape(label, "rectangle", [(x0, y0), (x1, y1)], group, flags)]
    if instance.outline is not None:
        polygons = record.polygons(instance)
        shapes += [
            _shape(label, "polygon", [*zip(polygon[::2], polygon[1::2], strict=True)], group, flags)
            for polygon in polygons
        ]
    # An object without labelled key-points has no points.
    for name, x, y, visibility in zip(
        annotations.keypoints, instance.points[::3], instance.points[1::3], instance.points[2::3], strict=False
    ):
        if visibility:
            shapes.append(_shape(name, "point", [(x, y)], group, {"hidden": True} if visibility == 1 else {}))
    return shapes


def _shape(label: str, kind: str, points: list[tuple[float, float]], group: int, flags: dict[str, bool]) -> Any:
    return {"label": label, "points": points, "group_id": group, "shape_type": kind, "flags": flags}


def _read_file(tree: Tree, name: str, index: ImageIndex) -> tuple[str, tuple[int, int], list[Any]]:
    """Return the image that a file annotates, the image's size (H, W) and the list of shapes."""
    content = load_json(tree.document(name), tree.where(name))
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        raise DamageError("file has no list 'shapes'")
    if not isinstance(content.get("imagePath"), str):
        raise DamageError("file has no imagePath")
    image = index.find_by_name(PurePosixPath(content["imagePath"].replace("\\", "/")).name, name)
    size = stated_size(content.get("imageHeight"), content.get("imageWidth"))
    return image, size or index.size(image), content["shapes"]


def _valid_shapes(shapes: list[Any], where: str, faults: Faults) -> _Shapes:
    """Return the shapes with their indices; invalid and unknown shapes are added to `faults`."""
    valid_shapes: _Shapes = []
    for k, shape in enumerate(shapes):
        kind = shape.get("shape_type", "polygon") if isinstance(shape, dict) else None
        points = (
            [parse_numbers(point, 2) for point in shape["points"]]
            if kind and isinstance(shape.get("points"), list)
            else []
        )
        if not kind or not points or None in points or not isinstance(shape.get("label"), str):
            faults.add(f"{where}, shape {k}", None, "needs a label, a shape_type and points of x and y", "refused")
        elif kind not in ("rectangle", "polygon", "circle", "point"):
            reason = f"{kind!r:.40} is not a rectangle, polygon, circle or point"
            faults.add(f"{where}, shape {k}", None, reason, "dropped")
        elif kind == "circle" and len(points) != 2:
            faults.add(f"{where}, shape {k}", None, "circle needs its centre and a point of its edge", "refused")
        else:
            if kind == "circle":
                kind = "polygon"
                points = _circle_points(*points)
            valid_shapes.append((k, {**shape, "shape_type": kind, "points": points}))
    return valid_shapes


def _circle_points(centre: Any, edge: Any) -> list[tuple[float, float]]:
    """Return the vertices of a polygon for a circle, among them its leftmost, rightmost, highest and lowest points."""
    radius = math.dist(centre, edge)
    angles = [2 * math.pi * k / CIRCLE_VERTICES for k in range(CIRCLE_VERTICES)]
    return [(centre[0] + radius * math.cos(angle), centre[1] + radius * math.sin(angle)) for angle in angles]


def _group_shapes(shapes: _Shapes, where: str, faults: Faults) -> list[_Shapes]:
    """Return the shapes of each object: those of one group and label, and the points of the group.

    Points of a group with several labels, which are the labels of several objects, are added to `faults`, as are those
    of no group beside other shapes.
    """
    objects: dict[Any, _Shapes] = {}
    points: dict[Any, _Shapes] = {}
    has_only_points = all(shape["shape_type"] == "point" for _, shape in shapes)
    for k, shape in shapes:
        group = shape.get("group_id")
        key = group if isinstance(group, int) else ("image" if has_only_points else f"shape {k}")
        if shape["shape_type"] == "point":
            points.setdefault(key, []).append((k, shape))
        else:
            objects.setdefault((key, shape["label"]), []).append((k, shape))
    labels_by_group: dict[Any, list[str]] = {}
    for key, label in objects:
        labels_by_group.setdefault(key, []).append(label)
    for key, group_labels in labels_by_group.items():
        if len(group_labels) > 1:
            names = join_names(map(repr, group_labels))
            text = f"group {key} has the labels {names}, so it is {len(group_labels)} objects"
            advice = "; give each object with key-points a group_id of its own" if key in points else ""
            faults.add(where, None, text + advice, "refused" if key in points else "listed")
    for key, group_points in points.items():
        if key not in labels_by_group and not has_only_points:
            reason = "point belongs to no rectangle or polygon; give both the same group_id"
            faults.add(f"{where}, shape {group_points[0][0]}", None, reason, "refused")
            continue
        label = labels_by_group.get(key, [POINTS_CLASS])[0]
        objects.setdefault((key, label), []).extend(group_points)
    return list(objects.values())


def _void_polygons(void_shapes: _Shapes, size: tuple[int, int], where: str, faults: Faults) -> Polygons:
    """Return the regions labelled IGNORE as polygons, and add each to `faults`, since it is no object."""
    polygons: list[tuple[float, ...]] = []
    for k, shape in void_shapes:
        try:
            points = shape["points"]
            if shape["shape_type"] == "rectangle":
                x, y = zip(*points, strict=True)
                points = [(min(x), min(y)), (max(x), min(y)), (max(x), max(y)), (min(x), max(y))]
            polygons += parse_polygons([tuple(chain.from_iterable(points))], size)
            faults.add(
                f"{where}, shape {k}", None, f"label {IGNORE!r} marks pixels without a class, no object", "dropped"
            )
        except PellucidError as error:
            faults.add(f"{where}, shape {k}", None, str(error), "refused")
    return tuple(polygons)


def _instance(
    group: _Shapes,
    size: tuple[int, int],
    label_by_name: dict[str, int],
    keypoint_indices: dict[str, int],
) -> Instance:
    """Return the object that a group of shapes describes. keypoint_indices: by name."""
    regions = [shape for _, shape in group if shape["shape_type"] != "point"]
    point_shapes = [shape for _, shape in group if shape["shape_type"] == "point"]
    label = regions[0]["label"] if regions else POINTS_CLASS
    if label not in label_by_name:
        raise DamageError(f"label {label!r:.60} is not among {join_names(label_by_name)}")
    polygons = [tuple(chain.from_iterable(shape["points"])) for shape in regions if shape["shape_type"] == "polygon"]
    outline: Polygons | None = parse_polygons(polygons, size) if polygons else None
    rectangle = next((shape["points"] for shape in regions if shape["shape_type"] == "rectangle"), None)
    corners = rectangle or [point for shape in regions for point in shape["points"]]
    x, y = [corner[0] for corner in corners], [corner[1] for corner in corners]
    box = (
        (min(x), min(y), max(x), max(y))
        if regions
        else box_around([shape["points"][0] for shape in point_shapes], size)
    )
    points = [0.0] * (3 * len(keypoint_indices) if point_shapes else 0)
    for shape in point_shapes:
        offset = 3 * keypoint_indices[shape["label"]]
        if points[offset + 2]:
            raise DamageError(f"two points are named {shape['label']!r:.60}; give each object its own group_id")
        points[offset : offset + 3] = [*shape["points"][0], 1.0 if _has_flag(shape, "hidden") else 2.0]
    is_crowd = any(_has_flag(shape, "crowd") for shape in regions)
    return Instance(box, label_by_name[label], outline, tuple(points), is_crowd)


def _number_order(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts names by their numbers: p2 before p10."""
    pieces = re.split("([0-9]+)", name)  # alternately text and digits
    return [(len(piece) if k % 2 else 0, piece) for k, piece in enumerate(pieces)]


def _has_flag(shape: dict[str, Any], name: str) -> bool:
    flags = shape.get("flags")
    return isinstance(flags, dict) and flags.get(name) is True


FORMAT = AnnotationFormat(
    "labelme", find_parts, read, write, image_path=lambda part, name: str(PurePosixPath(part, name)),
    written=lambda annotations: ALL_KINDS | {"void"}, masks_as_polygons=True,
)  # fmt: skip
