"""CVAT's export "CVAT for images": one XML file for a set of images, with boxes, polygons, ellipses and masks.

Coordinates are continuous. Shapes of a higher z_order cover the others. Polylines, points, skeletons and cuboids are no
objects with an area, and are left out. Source: docs.cvat.ai, "CVAT for image"; the format 1.1.
"""

import math
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
import torch

from pellucid.base.errors import PellucidError
from pellucid.base.limits import MAX_IMAGE_PIXELS, MAX_OBJECTS
from pellucid.base.text import note_once
from pellucid.data.annotations.base import (
    Annotations,
    BoxCorners,
    DamageError,
    Faults,
    ImageRecord,
    Instance,
    Polygons,
    join_names,
    parse_polygons,
    stated_size,
)
from pellucid.data.annotations.format import AnnotationFormat
from pellucid.data.annotations.images import ImageIndex, group_by_part
from pellucid.data.annotations.voc import Element, parse_xml
from pellucid.data.tree import Tree
from pellucid.ops.masks import decompress, encode_rle, run_spans, span_box

ROOT = "annotations"
ELLIPSE_VERTICES = 64  # of the polygon for an ellipse
_SHAPES = ("box", "polygon", "ellipse", "mask")
_OTHER_SHAPES = ("polyline", "points", "skeleton", "cuboid", "tag")
_USUAL_FILE = "annotations.xml"


def find_parts(tree: Tree) -> dict[str, tuple[str, ...]]:
    """Return the XML files of CVAT in a tree by part; {} if there are none."""
    return group_by_part(name for name in xml_files(tree) if is_cvat(tree.document(name)))


def xml_files(tree: Tree) -> list[str]:
    """Return the XML files that may annotate many images: those of CVAT's name, or the only one in its folder."""
    files = [name for name in tree.names if PurePosixPath(name).suffix.lower() == ".xml"]
    folders = [str(PurePosixPath(name).parent) for name in files]
    # Counting takes time that grows with the square; so many files annotate one image each.
    counts = {folder: folders.count(folder) for folder in {*folders}} if len(folders) < 1000 else {}
    return [
        name
        for name, folder in zip(files, folders, strict=True)
        if counts.get(folder) == 1 or PurePosixPath(name).name.lower() == _USUAL_FILE
    ]


def is_cvat(data: bytes) -> bool:
    """Return whether an XML file, even a damaged one, is CVAT's."""
    return b"<annotations" in data.replace(b"\0", b"")[:4096]  # after a declaration and comments


def read(tree: Tree, files: Sequence[str], classes: Sequence[str] | None = None) -> Annotations:
    """Return the annotations in CVAT's files.

    classes: the allowed class names, indexed by label; by default the labels of the task in their order, or without
    them all names in the files, sorted.
    """
    faults, index = Faults(), ImageIndex(tree)
    roots: dict[str, Element] = {}
    for name in files:
        where = tree.where(name)
        try:
            roots[name] = parse_xml(tree.document(name), where, ROOT)
            if roots[name].find("track"):
                raise DamageError("has tracks of a video; export the task as CVAT for images", roots[name].line)
        except PellucidError as error:
            roots.pop(name, None)
            faults.refuse(where, None, error)
    class_order = tuple(classes or _class_names([*roots.values()]))
    label_by_name = {label: k for k, label in enumerate(class_order)}
    records: list[ImageRecord] = []
    for name, root in roots.items():
        where = tree.where(name)
        images = [element for element in root.children if element.tag == "image"]
        if len({element.attributes.get("subset", "") for element in images}) > 1:
            note_once(f"{where}: the subsets of its images are not read as parts; export each subset into a folder")
        for element in images:
            try:
                image = index.find_by_name(element.attributes.get("name", ""), name)
                size = stated_size(_integer(element, "height"), _integer(element, "width")) or index.size(image)
            except PellucidError as error:
                faults.refuse(where, element.line, error)
                continue
            instances = _instances(element, size, label_by_name, where, faults)
            records.append(ImageRecord(image, size, instances, where, image_id=len(records) + 1))
    return Annotations(class_order, tuple(records), faults.entries)


def _class_names(roots: Sequence[Element]) -> list[str]:
    """Return the labels that tasks define, in their order, or without them the sorted labels of all shapes."""
    defined_labels: dict[str, None] = {}
    elements = list(roots)
    while elements:
        element = elements.pop()
        if element.tag == "labels":
            defined_labels.update(
                dict.fromkeys(label.text_at("name") for label in element.children if label.text_at("name"))
            )
        elif element.tag in (ROOT, "meta", "task", "project", "job"):
            elements += reversed(element.children)
    if defined_labels:
        return [*defined_labels]
    shapes = [shape for root in roots for image in root.children for shape in image.children if shape.tag in _SHAPES]
    return sorted({shape.attributes.get("label", "") for shape in shapes} - {""})


def _instances(
    image: Element, size: tuple[int, int], label_by_name: dict[str, int], where: str, faults: Faults
) -> tuple[Instance, ...]:
    """Return the objects of an image, those of a higher z_order later, and add invalid ones to `faults`."""
    order_and_instance: list[tuple[int, Instance]] = []
    for shape in image.children:
        if shape.tag in _OTHER_SHAPES:
            faults.add(where, shape.line, f"{shape.tag} is not a {', '.join(_SHAPES[:-1])} or {_SHAPES[-1]}", "dropped")
        if shape.tag not in _SHAPES:
            continue
        try:
            label = shape.attributes.get("label", "")
            if label not in label_by_name:
                raise DamageError(f"label {label!r:.60} is not among {join_names(label_by_name)}")
            if len(order_and_instance) == MAX_OBJECTS:
                raise DamageError(f"image has more than {MAX_OBJECTS} objects")
            corners, outline = _outline(shape, size)
            box = faults.clip_box(corners, size, where, shape.line)
            if box is not None:
                order_and_instance.append(
                    (_integer(shape, "z_order"), Instance(box, label_by_name[label], outline, line=shape.line))
                )
        except PellucidError as error:
            faults.add(where, shape.line, str(error), "refused")
    return tuple(instance for _, instance in sorted(order_and_instance, key=lambda entry: entry[0]))


def _outline(shape: Element, size: tuple[int, int]) -> tuple[BoxCorners, Polygons | str | None]:
    """Return the box of a shape and its outline, None for a box that is not rotated."""
    if shape.tag == "mask":
        rle = _mask(shape, size)
        x0, y0, x1, y1 = span_box(run_spans(decompress(rle), size), size[0])
        return (x0, y0, x1, y1), rle
    if shape.tag == "polygon":
        coordinate_texts = [text for pair in shape.attributes.get("points", "").split(";") for text in pair.split(",")]
        points = [_parse(text, shape) for text in coordinate_texts]
    elif shape.tag == "ellipse":
        points = _ellipse(shape)
    else:
        x0, y0, x1, y1 = (_number(shape, name) for name in ("xtl", "ytl", "xbr", "ybr"))
        if not _number(shape, "rotation", 0.0):
            return (x0, y0, x1, y1), None
        points = _rotated([x0, y0, x1, y0, x1, y1, x0, y1], _number(shape, "rotation"))
    outline = parse_polygons([points], size)
    return (min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2])), outline


def _ellipse(shape: Element) -> list[float]:
    x, y, radius_x, radius_y = (_number(shape, name) for name in ("cx", "cy", "rx", "ry"))
    angles = [2 * math.pi * k / ELLIPSE_VERTICES for k in range(ELLIPSE_VERTICES)]
    pairs = [(x + radius_x * math.cos(angle), y + radius_y * math.sin(angle)) for angle in angles]
    return _rotated([value for pair in pairs for value in pair], _number(shape, "rotation", 0.0))


def _rotated(points: list[float], degrees: float) -> list[float]:
    """Return points turned clockwise around the middle of their bounding box, as CVAT's rotation turns shapes."""
    centre_x, centre_y = (min(points[::2]) + max(points[::2])) / 2, (min(points[1::2]) + max(points[1::2])) / 2
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    rotated_points: list[float] = []
    for x, y in zip(points[::2], points[1::2], strict=True):
        rotated_points += [
            centre_x + (x - centre_x) * cos - (y - centre_y) * sin,
            centre_y + (x - centre_x) * sin + (y - centre_y) * cos,
        ]
    return rotated_points


def _mask(shape: Element, size: tuple[int, int]) -> str:
    """Return COCO's compressed RLE of a mask, whose run lengths are those of the rows of its box."""
    left, top, width, height = (_integer(shape, name) for name in ("left", "top", "width", "height"))
    if not (left >= 0 and 0 < width <= size[1] - left and top >= 0 and 0 < height <= size[0] - top):
        raise DamageError(f"mask of {width}x{height} at {left}, {top} is not inside the image of {size[1]}x{size[0]}")
    run_texts = shape.attributes.get("rle", "").split(",")
    # A number of 12 digits or more is no run length.
    runs = [int(text) if text.strip().isdecimal() and len(text) < 12 else -1 for text in run_texts]
    if min(runs) < 0 or sum(runs) != width * height or width * height > MAX_IMAGE_PIXELS:
        raise DamageError(f"mask of {width}x{height} has an rle of another length; export the task again")
    pixels = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
    mask = torch.zeros(size, dtype=torch.bool)
    mask[top : top + height, left : left + width] = torch.from_numpy(pixels)
    return encode_rle(mask)


def _number(shape: Element, name: str, default: float | None = None) -> float:
    if default is not None and name not in shape.attributes:
        return default
    return _parse(shape.attributes.get(name, ""), shape)


def _parse(text: str, shape: Element) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) < 1e9:
        raise DamageError(f"{shape.tag} has {text!r:.40} in place of a number")
    return value


def _integer(element: Element, name: str) -> int:
    """Return an attribute as a whole number, also of text such as 12.0; 0 if it is none."""
    text = element.attributes.get(name, "").strip().removesuffix(".0")
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdecimal() and len(digits) < 10 else 0


FORMAT = AnnotationFormat("cvat", find_parts, read)
