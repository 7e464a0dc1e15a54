"""Small annotated data sets in the VOC and COCO formats, written as text."""

import json
from typing import Any, NamedTuple

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


class FormatSample(NamedTuple):
    """A data set of one image of 30x20 pixels with one object: its files without the image, and what they contain."""

    files: dict[str, bytes]
    file: str  # of the annotations
    image: str
    label: str = "cat"
    box: tuple[float, float, float, float] = (2, 4, 12, 14)


LABELME_SHAPE = {"label": "cat", "points": [[2, 4], [12, 14]], "shape_type": "rectangle"}
SAMPLES = {
    "cvat": FormatSample(
        {
            "annotations.xml": b'<annotations><image name="a.png" width="30" height="20">'
            b'<box label="cat" xtl="2" ytl="4" xbr="12" ybr="14"/></image></annotations>'
        },
        "annotations.xml",
        "a.png",
    ),
    "voc": FormatSample({"a.xml": voc_xml(("cat", 2, 4, 12, 14, 0))}, "a.xml", "a.png"),
    "coco": FormatSample({"a.json": coco([IMAGE], [annotation()], [{"id": 7, "name": "cat"}])}, "a.json", "a.png"),
    "labelme": FormatSample(
        {"a.json": json.dumps({"shapes": [LABELME_SHAPE], "imagePath": "a.png"}).encode()}, "a.json", "a.png"
    ),
    "deeplabcut": FormatSample(
        {
            "labeled-data/v/CollectedData_x.csv": b"scorer,x,x,x,x\nbodyparts,a,a,b,b\ncoords,x,y,x,y\n"
            b"labeled-data/v/a.png,2,4,12,14\n"
        },
        "labeled-data/v/CollectedData_x.csv",
        "labeled-data/v/a.png",
        "object",
        (1, 3, 13, 15),  # a tenth of the larger side more than the points
    ),
    "yolo": FormatSample(
        {"data.yaml": b"names: [cat]", "labels/a.txt": b"0 0.2333333 0.45 0.3333333 0.5\n"},
        "labels/a.txt",
        "images/a.png",
    ),
}
