"""Damaged annotations and masks: every object of a file is loaded, listed as a fault, or the file is refused."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import torch
from PIL import Image

from benchmarks.fuzz.mutations import damaged, json_changed, xml_changed
from pellucid.data import DetectionFolder, MaskFolder
from pellucid.data.annotations import Annotations, read_annotations
from pellucid.data.annotations.base import refuse
from pellucid.data.tree import open_tree
from pellucid.errors import PellucidError
from pellucid.ops.masks import compress

ANNOTATIONS = ("voc", "coco", "yolo", "labelme", "mask")
FILES = {
    "voc": "Annotations/a.xml", "coco": "train.json", "yolo": "labels/a.txt", "labelme": "a.json",
    "mask": "trainannot/a.png",
}  # fmt: skip
IMAGES = {"voc": "JPEGImages/a.png", "coco": "train/a.png", "yolo": "images/a.png", "labelme": "a.png",
          "mask": "train/a.png"}  # fmt: skip
SIZE = (40, 50)
CLASSES = ("cat", "dog")
POLYGON = [4, 6, 20, 6, 20, 18, 4, 18]


def write_annotations(kind: str, path: Path) -> None:
    """Write the whole file of that kind, and beside it a set in which it belongs to an image."""
    place = path.parent / f"set-{kind}" / IMAGES[kind]
    for folder in (place.parent, _file(path, kind).parent):
        folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (*SIZE, 3), dtype=np.uint8)).save(place)
    if kind == "yolo":
        (path.parent / "set-yolo/data.yaml").write_text("names: [cat, dog]\n")
    if kind == "mask":
        Image.fromarray(_mask()).save(path, "PNG")
    else:
        path.write_bytes({"voc": _voc, "coco": _coco, "yolo": _yolo, "labelme": _labelme}[kind]().encode())


def write_annotation_case(kind: str, whole: Path, path: Path, draw: random.Random) -> None:
    """Write one changed copy of a file: of its bytes, or of the values in it."""
    change: Callable[[bytes, random.Random], bytes] = damaged
    if draw.random() < 0.6:
        change = {"voc": xml_changed, "coco": json_changed, "labelme": json_changed}.get(kind, damaged)
    path.write_bytes(change(whole.read_bytes(), draw))


def outcome_of_annotations(kind: str, path: Path) -> str:
    """Return "refused", "listed", "other" ("same" for a mask), or what is wrong."""
    _file(path, kind).write_bytes(path.read_bytes())
    try:
        return _outcome_of_mask(path) if kind == "mask" else _outcome_of_objects(kind, path)
    except PellucidError as error:
        said = str(error)
        named = Path(FILES[kind]).name in said or "contains no annotations" in said
        return "refused" if named and "\n" not in said and said.isprintable() else f"message: {said!r}"
    except Exception as error:
        return f"traceback: {type(error).__name__}: {' '.join(str(error).split()):.300}"


def _outcome_of_objects(kind: str, path: Path) -> str:
    folder = path.parent / f"set-{kind}"
    with open_tree(folder) as tree:
        found = read_annotations(tree, "", CLASSES)
    refuse(found.faults)
    loaded = sum(len(record.instances) for record in found.records)
    dropped = sum(fault.effect == "dropped" for fault in found.faults)
    expected = _count(kind, path.read_bytes(), found)
    if loaded + dropped != expected:
        return f"lost: {expected} objects in the file, {loaded} loaded, {dropped} listed"
    source = DetectionFolder(folder, classes=CLASSES)
    for k in range(len(source)):
        source.example(k)
    return "listed" if dropped else "other"


def _outcome_of_mask(path: Path) -> str:
    _, mask = MaskFolder(path.parent / "set-mask", classes=("a", "b", "c")).example(0)
    return "same" if torch.equal(mask, torch.from_numpy(_mask()).long()) else "unseen: another mask from a damaged PNG"


def _count(kind: str, data: bytes, found: Annotations) -> int:
    """Return the number of objects in a file, counted without the readers."""
    if kind == "voc":
        return sum(one.find("bndbox") is not None or one.tag == "object" for one in ElementTree.fromstring(data))
    if kind == "coco":
        return len(json.loads(data)["annotations"])
    if kind == "yolo":
        return sum(bool(line.strip()) for line in data.decode("utf-8", "replace").splitlines())
    shapes = [one for one in json.loads(data)["shapes"] if one.get("shape_type", "polygon") != "point"]
    known = [one for one in shapes if one.get("shape_type", "polygon") in ("rectangle", "polygon")]
    groups = [one.get("group_id") for one in known]
    single = sum(not isinstance(group, int) for group in groups)
    return len(shapes) - len(known) + single + len({group for group in groups if isinstance(group, int)})


def _file(path: Path, kind: str) -> Path:
    return path.parent / f"set-{kind}" / FILES[kind]


def _mask() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 3, SIZE, dtype=np.uint8)


def _voc() -> str:
    def sides(*values: float) -> str:
        return "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), values, strict=True))

    objects = [("cat", 1, sides(4, 6, 20, 18)), ("dog", 0, sides(1, 1, 50, 40)), ("cat", 0, sides(9.5, 3, 12, 30.25))]
    body = "\n".join(
        f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>{box}</bndbox></object>"
        for name, difficult, box in objects
    )
    size = f"<size><width>{SIZE[1]}</width><height>{SIZE[0]}</height><depth>3</depth></size>"
    return f"<annotation><filename>a.png</filename>\n{size}\n{body}\n</annotation>"


def _coco() -> str:
    runs = [100, 40, 1860]
    outlines = [[POLYGON], *({"size": [*SIZE], "counts": counts} for counts in (runs, compress(runs))), []]
    items = [
        {
            "id": k, "image_id": 5, "category_id": 2 + 7 * (k % 2), "bbox": [4, 6, 16, 12], "area": 192,
            "iscrowd": k % 2, "segmentation": outline, "keypoints": [5, 7, 2, 0, 0, 0],
        }
        for k, outline in enumerate(outlines)
    ]  # fmt: skip
    categories = [{"id": 2, "name": "cat", "keypoints": ["nose", "tail"]}, {"id": 9, "name": "dog"}]
    images = [{"id": 5, "file_name": "a.png", "height": SIZE[0], "width": SIZE[1]}]
    return json.dumps({"images": images, "annotations": items, "categories": categories})


def _yolo() -> str:
    return "0 0.5 0.5 0.25 0.5\n1 0.1 0.2 0.6 0.2 0.6 0.9\n1 0.9 0.9 0.1 0.1\n"


def _labelme() -> str:
    def shape(kind: str, points: list[list[float]], group: int | None, label: str = "cat") -> dict[str, object]:
        return {"label": label, "points": points, "group_id": group, "shape_type": kind, "flags": {}}

    shapes = [
        shape("rectangle", [[4, 6], [20, 18]], 1), shape("polygon", [[4, 6], [20, 6], [20, 18]], 1),
        shape("point", [[5, 7]], 1, "nose"), shape("rectangle", [[30, 30], [22, 19]], None, "dog"),
    ]  # fmt: skip
    whole = {"version": "5.2.1", "flags": {}, "shapes": shapes, "imagePath": "a.png", "imageData": None,
             "imageHeight": SIZE[0], "imageWidth": SIZE[1]}  # fmt: skip
    return json.dumps(whole)
