"""Small annotated data sets in the VOC and COCO formats, written as text."""

import json
from typing import Any

from tests.data.pictures import picture_bytes


def voc_xml(*objects: tuple[Any, ...], size: tuple[int, int] = (20, 30), extra: str = "") -> bytes:
    """Return a VOC file of objects (name, xmin, ymin, xmax, ymax, difficult); size: (height, width)."""
    lines = [
        "<annotation>",
        f"<size><width>{size[1]}</width><height>{size[0]}</height><depth>3</depth></size>{extra}",
    ]
    for name, *sides, difficult in objects:
        corner_tags = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), sides, strict=True))
        lines.append(f"<object><name>{name}</name><difficult>{difficult}</difficult>")
        lines.append(f"<bndbox>{corner_tags}</bndbox></object>")
    return "\n".join([*lines, "</annotation>"]).encode()


def voc_set() -> dict[str, bytes]:
    """Return a VOC folder of three images: "a" and "b" for training, "c" for validation; b has no objects."""
    return {
        "JPEGImages/a.png": picture_bytes((255, 0, 0), (30, 20)),
        "JPEGImages/b.png": picture_bytes((0, 255, 0), (30, 20)),
        "JPEGImages/c.png": picture_bytes((0, 0, 255), (30, 20)),
        "Annotations/a.xml": voc_xml(("dog", 2, 4, 12, 14, 0), ("cat", 20, 10, 30, 20, 1)),
        "Annotations/b.xml": voc_xml(),
        "Annotations/c.xml": voc_xml(("cat", 0, 0, 30.5, 20, 0)),
        "ImageSets/Main/train.txt": b"a\nb\n",
        "ImageSets/Main/val.txt": b"c\n",
        "ImageSets/Main/cat_train.txt": b"a  1\nb -1\n",
    }


def coco(images: list[Any], annotations: list[Any], categories: list[Any] | None = None) -> bytes:
    """Return the bytes of a COCO file; without `categories`: dog and cat."""
    category_list = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}] if categories is None else categories
    return json.dumps({"images": images, "annotations": annotations, "categories": category_list}).encode()


IMAGE = {"id": 11, "file_name": "a.png", "width": 30, "height": 20}


def annotation(**changes: Any) -> dict[str, Any]:
    """Return an annotation of IMAGE, with some keys changed."""
    return {"id": 1, "image_id": 11, "category_id": 7, "bbox": [2, 4, 10, 10], "iscrowd": 0} | changes


def coco_set(*annotations: dict[str, Any], categories: list[Any] | None = None) -> dict[str, bytes]:
    """Return the files of a COCO data set of one image."""
    return {
        "train/a.png": picture_bytes((255, 0, 0), (30, 20)),
        "train.json": coco([IMAGE], [*annotations], categories),
    }
