"""Damaged annotations and masks: each object must be loaded or listed as a fault, unless the file is refused."""

import csv
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import torch
from PIL import Image

from benchmarks.fuzz.mutations import change_json, change_xml, damage
from pellucid.base.errors import PellucidError
from pellucid.data import DetectionFolder, MaskFolder
from pellucid.data.annotations import Annotations, read_annotations
from pellucid.data.annotations.base import check_faults
from pellucid.data.tree import open_tree
from pellucid.ops.masks import compress

ANNOTATIONS = ("cvat", "voc", "coco", "yolo", "labelme", "deeplabcut", "mask")
ANNOTATION_FILES = {
    "cvat": "annotations.xml",
    "voc": "Annotations/a.xml", "coco": "train.json", "yolo": "labels/a.txt", "labelme": "a.json",
    "deeplabcut": "labeled-data/v/CollectedData_x.csv", "mask": "trainannot/a.png",
}  # fmt: skip
IMAGE_FILES = {
    "cvat": "a.png", "voc": "JPEGImages/a.png", "coco": "train/a.png", "yolo": "images/a.png", "labelme": "a.png",
    "deeplabcut": "labeled-data/v/a.png", "mask": "train/a.png",
}  # fmt: skip
IMAGE_SIZE = (40, 50)
CLASSES = ("cat", "dog", "object")
CVAT_SHAPES = ("box", "polygon", "ellipse", "mask")
POLYGON = [4, 6, 20, 6, 20, 18, 4, 18]


def write_annotations(kind: str, path: Path) -> None:
    """Write the undamaged file of a kind to `path`, and a data set with its image to the folder set-KIND next to it."""
    image_path = path.parent / f"set-{kind}" / IMAGE_FILES[kind]
    for folder in (image_path.parent, _annotation_file(path, kind).parent):
        folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (*IMAGE_SIZE, 3), dtype=np.uint8)).save(image_path)
    if kind == "yolo":
        (path.parent / "set-yolo/data.yaml").write_text("names: [cat, dog]\n")
    if kind == "mask":
        Image.fromarray(_mask_array()).save(path, "PNG")
    else:
        path.write_bytes(
            {
                "cvat": _cvat_xml,
                "voc": _voc_xml,
                "coco": _coco_json,
                "yolo": _yolo_text,
                "labelme": _labelme_json,
                "deeplabcut": _deeplabcut_csv,
            }[kind]().encode()
        )


def write_annotation_case(kind: str, original: Path, path: Path, rng: random.Random) -> None:
    """Write a copy of a file with changed bytes or changed values."""
    change: Callable[[bytes, random.Random], bytes] = damage
    if rng.random() < 0.6:
        change = {"cvat": change_xml, "voc": change_xml, "coco": change_json, "labelme": change_json}.get(kind, damage)
    path.write_bytes(change(original.read_bytes(), rng))


def outcome_of_annotations(kind: str, path: Path) -> str:
    """Return "refused", "listed", "other" ("same" for a mask), or a description of the fault."""
    _annotation_file(path, kind).write_bytes(path.read_bytes())
    try:
        return _outcome_of_mask(path) if kind == "mask" else _outcome_of_objects(kind, path)
    except PellucidError as error:
        message = str(error)
        is_empty = "contains no annotations" in message or "contain no images" in message
        names_file = is_empty or Path(ANNOTATION_FILES[kind]).name in message
        return "refused" if names_file and "\n" not in message and message.isprintable() else f"message: {message!r}"
    except Exception as error:
        return f"traceback: {type(error).__name__}: {' '.join(str(error).split()):.300}"


def _outcome_of_objects(kind: str, path: Path) -> str:
    folder = path.parent / f"set-{kind}"
    with open_tree(folder) as tree:
        annotations = read_annotations(tree, "", CLASSES)
    check_faults(annotations.faults)
    n_loaded = sum(len(record.instances) for record in annotations.records)
    n_dropped = sum(fault.effect == "dropped" for fault in annotations.faults)
    expected = _count_objects(kind, path.read_bytes(), annotations)
    if n_loaded + n_dropped != expected:
        return f"lost: {expected} objects in the file, {n_loaded} loaded, {n_dropped} listed"
    source = DetectionFolder(folder, classes=CLASSES)
    for k in range(len(source)):
        source.example(k)
    return "listed" if n_dropped else "other"


def _outcome_of_mask(path: Path) -> str:
    _, mask = MaskFolder(path.parent / "set-mask", classes=("a", "b", "c")).example(0)
    return (
        "same"
        if torch.equal(mask, torch.from_numpy(_mask_array()).long())
        else "unseen: another mask from a damaged PNG"
    )


def _count_objects(kind: str, data: bytes, annotations: Annotations) -> int:
    """Return the number of objects in a file, counted without the readers."""
    text = _decoded(data)
    if kind in ("cvat", "voc"):
        root = ElementTree.fromstring(text)
        shapes = [one for image in root.iter("image") for one in image if one.tag in CVAT_SHAPES]
        objects = [one for one in root if one.find("bndbox") is not None or one.tag == "object"]
        return len(shapes if kind == "cvat" else objects)
    if kind == "coco":
        return len(json.loads(text)["annotations"])
    if kind == "yolo":
        return sum(bool(line.strip()) for line in text.splitlines())
    if kind == "deeplabcut":
        rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
        animals = {name for name in rows[1] if name.startswith("mouse")}
        filled = [(row[0], rows[1][k]) for row in rows[4:] for k, cell in enumerate(row) if k and cell.strip() and
                  cell.lower() != "nan"]  # fmt: skip
        return len({(image, name) for image, name in filled if name in animals})
    points = [one for one in json.loads(text)["shapes"] if one.get("shape_type") == "point"]
    if len(points) == len(json.loads(text)["shapes"]):  # each group is an object, as are all points without a group
        return len({one["group_id"] if isinstance(one.get("group_id"), int) else None for one in points})
    shapes = [one for one in json.loads(text)["shapes"] if one.get("shape_type", "polygon") != "point"]
    supported = [one for one in shapes if one.get("shape_type", "polygon") in ("rectangle", "polygon")]
    grouped = [(one["group_id"], one["label"]) for one in supported if isinstance(one.get("group_id"), int)]
    return len(shapes) - len(grouped) + len({*grouped})


def _decoded(data: bytes) -> str:
    """Return a text in UTF-8, otherwise in Windows-1252, as the readers do."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252")


def _annotation_file(path: Path, kind: str) -> Path:
    return path.parent / f"set-{kind}" / ANNOTATION_FILES[kind]


def _mask_array() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 3, IMAGE_SIZE, dtype=np.uint8)


def _cvat_xml() -> str:
    shapes = [
        '<box label="cat" xtl="4" ytl="6" xbr="20" ybr="18" z_order="1"/>',
        '<polygon label="dog" points="4,6;20,6;20,18;4,18"/>',
        '<ellipse label="cat" cx="30" cy="20" rx="8.5" ry="5"/>',
        '<mask label="dog" rle="3, 9, 12" left="2" top="3" width="6" height="4"/>',
    ]
    image = f'<image id="0" name="a.png" width="{IMAGE_SIZE[1]}" height="{IMAGE_SIZE[0]}">'
    return "\n".join(["<annotations>", image, *shapes, "</image>", "</annotations>"])


def _voc_xml() -> str:
    def sides(*values: float) -> str:
        return "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), values, strict=True))

    objects = [("cat", 1, sides(4, 6, 20, 18)), ("dog", 0, sides(1, 1, 50, 40)), ("cat", 0, sides(9.5, 3, 12, 30.25))]
    body = "\n".join(
        f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{box}</bndbox></object>"
        for name, difficult, box in objects
    )
    size = f"<size><width>{IMAGE_SIZE[1]}</width><height>{IMAGE_SIZE[0]}</height><depth>3</depth></size>"
    return f"<annotation><filename>a.png</filename>\n{size}\n{body}\n</annotation>"


def _coco_json() -> str:
    runs = [100, 40, 1860]
    outlines = [[POLYGON], *({"size": [*IMAGE_SIZE], "counts": counts} for counts in (runs, compress(runs))), []]
    items = [
        {
            "id": k, "image_id": 5, "category_id": 2 + 7 * (k % 2), "bbox": [4, 6, 16, 12], "area": 192,
            "iscrowd": k % 2, "segmentation": outline, "keypoints": [5, 7, 2, 0, 0, 0],
        }
        for k, outline in enumerate(outlines)
    ]  # fmt: skip
    categories = [{"id": 2, "name": "cat", "keypoints": ["nose", "tail"]}, {"id": 9, "name": "dog"}]
    images = [{"id": 5, "file_name": "a.png", "height": IMAGE_SIZE[0], "width": IMAGE_SIZE[1]}]
    return json.dumps({"images": images, "annotations": items, "categories": categories})


def _yolo_text() -> str:
    return "0 0.5 0.5 0.25 0.5\n1 0.1 0.2 0.6 0.2 0.6 0.9\n1 0.9 0.9 0.1 0.1\n"


def _deeplabcut_csv() -> str:
    rows = [
        ["scorer", *["x"] * 8],
        ["individuals", *["mouse1"] * 4, *["mouse2"] * 4],
        ["bodyparts", *["nose", "nose", "tail", "tail"] * 2],
        ["coords", *["x", "y"] * 4],
        ["labeled-data/v/a.png", "5.25", "7", "20.5", "9", "30", "31.5", "", ""],
    ]
    return "".join(",".join(row) + "\n" for row in rows)


def _labelme_json() -> str:
    def shape(kind: str, points: list[list[float]], group: int | None, label: str = "cat") -> dict[str, object]:
        return {"label": label, "points": points, "group_id": group, "shape_type": kind, "flags": {}}

    shapes = [
        shape("rectangle", [[4, 6], [20, 18]], 1), shape("polygon", [[4, 6], [20, 6], [20, 18]], 1),
        shape("point", [[5, 7]], 1, "nose"), shape("rectangle", [[30, 30], [22, 19]], None, "dog"),
    ]  # fmt: skip
    document = {"version": "5.2.1", "flags": {}, "shapes": shapes, "imagePath": "a.png", "imageData": None,
             "imageHeight": IMAGE_SIZE[0], "imageWidth": IMAGE_SIZE[1]}  # fmt: skip
    return json.dumps(document)
