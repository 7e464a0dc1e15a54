"""The four formats of boxes and points, folders of masks and class folders, written as common tools write them."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from .draw import Scene, Thing


def text(path: Path, words: str, encoding: str = "utf-8") -> None:
    """Write a text file byte for byte; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(words.encode(encoding))


def image(path: Path, pixels: np.ndarray, **options: object) -> None:
    """Write pixels into a picture file; its folder is made. JPEG is nearly lossless."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() in (".jpg", ".jpeg"):
        options = {"quality": 95, "subsampling": 0, **options}
    Image.fromarray(pixels).save(path, **options)


def class_folders(folder: Path, found: dict[str, list[Scene]]) -> None:
    """CLASS/NAME.png."""
    for label, scenes in found.items():
        for scene in scenes:
            image(folder / label / f"{scene.name}.png", scene.picture)


def mask_part(folder: Path, part: str, scenes: list[Scene], masks: list[np.ndarray]) -> None:
    """PART/NAME.png and PARTannot/NAME.png."""
    for scene, mask in zip(scenes, masks, strict=True):
        image(folder / part / f"{scene.name}.png", scene.picture)
        image(folder / f"{part}annot" / f"{scene.name}.png", mask)


def voc_object(thing: Thing, shape: str | None = None) -> str:
    """An object as labelImg writes it; `shape` stands in place of the <bndbox>."""
    x0, y0, x1, y1 = thing.corners
    box = f"<xmin>{x0}</xmin>\n\t\t\t<ymin>{y0}</ymin>\n\t\t\t<xmax>{x1}</xmax>\n\t\t\t<ymax>{y1}</ymax>"
    shape = shape or f"<bndbox>\n\t\t\t{box}\n\t\t</bndbox>"
    return (
        f"\t<object>\n\t\t<name>{thing.label}</name>\n\t\t<pose>Unspecified</pose>\n\t\t<truncated>0</truncated>\n"
        f"\t\t<difficult>0</difficult>\n\t\t{shape}\n\t</object>\n"
    )


def voc(path: Path, scene: Scene, filename: str | None = None, objects: list[str] | None = None) -> None:
    """An XML file as labelImg writes it. <filename> is the picture's, if nothing else is given."""
    filename = filename or f"{scene.name}.jpg"
    objects = [voc_object(thing) for thing in scene.things] if objects is None else objects
    size = f"<width>{scene.width}</width>\n\t\t<height>{scene.height}</height>\n\t\t<depth>3</depth>"
    head = f"\t<folder>pictures</folder>\n\t<filename>{filename}</filename>\n"
    head += "\t<source>\n\t\t<database>Unknown</database>\n\t</source>\n"
    head += f"\t<size>\n\t\t{size}\n\t</size>\n\t<segmented>0</segmented>\n"
    text(path, f"<annotation>\n{head}{''.join(objects)}</annotation>\n")


def coco(scenes: list[Scene], labels: tuple[str, ...], points: tuple[str, ...] = ()) -> dict:
    """COCO's tables of pictures, objects and categories, all numbered from 1. The pictures are NAME.jpg."""
    categories = [{"id": number, "name": label, "supercategory": "none"} for number, label in enumerate(labels, 1)]
    if points:
        categories[0] |= {"keypoints": list(points), "skeleton": []}
    images, annotations = [], []
    for number, scene in enumerate(scenes, 1):
        images.append({"id": number, "file_name": f"{scene.name}.jpg", "width": scene.width, "height": scene.height})
        for thing in scene.things:
            x0, y0, x1, y1 = thing.corners
            found = {"id": len(annotations) + 1, "image_id": number, "category_id": labels.index(thing.label) + 1}
            found |= {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0), "iscrowd": 0}
            if points:
                found |= {"keypoints": [value for x, y in scene.points for value in (x, y, 2)]}
                found |= {"num_keypoints": len(points)}
            annotations.append(found)
    return {"images": images, "annotations": annotations, "categories": categories}


def coco_part(folder: Path, part: str, scenes: list[Scene], table: dict) -> None:
    """PART.json and PART/NAME.jpg."""
    text(folder / f"{part}.json", json.dumps(table))
    for scene in scenes:
        image(folder / part / f"{scene.name}.jpg", scene.picture)


def yolo_lines(scene: Scene, labels: tuple[str, ...], first: int = 0) -> str:
    """A line for each object: class, centre and size as parts of the picture, and key-points with visibility."""
    lines = []
    for thing in scene.things:
        x, y = (thing.x0 + thing.x1) / 2 / scene.width, (thing.y0 + thing.y1) / 2 / scene.height
        values = [x, y, (thing.x1 - thing.x0) / scene.width, (thing.y1 - thing.y0) / scene.height]
        dots = "".join(f" {px / scene.width:.6f} {py / scene.height:.6f} 2" for px, py in scene.points)
        lines.append(f"{labels.index(thing.label) + first} " + " ".join(f"{value:.6f}" for value in values) + dots)
    return "\n".join(lines) + "\n"


def yolo_part(images: Path, texts: Path, scenes: list[Scene], labels: tuple[str, ...], first: int = 0) -> None:
    """NAME.jpg into one folder and NAME.txt into another; `first` is the number of the first class."""
    for scene in scenes:
        image(images / f"{scene.name}.jpg", scene.picture)
        text(texts / f"{scene.name}.txt", yolo_lines(scene, labels, first))


def shape(label: str, points: list, kind: str, group: int | None = None) -> dict:
    """A shape of labelme."""
    return {"label": label, "points": points, "group_id": group, "shape_type": kind, "flags": {}}


def labelme(folder: Path, scene: Scene, shapes: list[dict]) -> None:
    """NAME.jpg and NAME.json in the same folder, as labelme writes them with the picture's data left out."""
    image(folder / f"{scene.name}.jpg", scene.picture)
    table = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": f"{scene.name}.jpg", "imageData": None}
    text(folder / f"{scene.name}.json", json.dumps(table | {"imageHeight": scene.height, "imageWidth": scene.width}))
