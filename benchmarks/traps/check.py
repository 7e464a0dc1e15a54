"""An independent look at the twins: `python -m benchmarks.traps.check OUT [--sealed]`.

It reads the files with Pillow, json, ElementTree and NumPy alone, by the documentation of the formats, and compares
what it finds with what is expected. It shares nothing with the code that writes.
"""

import ast
import json
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from .cases import Expected, chosen_cases

PARTS = {"train": "train", "val": "held_out", "test": "held_out"}


@dataclass
class Found:
    """One picture as it was read."""

    path: Path
    part: str = ""
    objects: list[tuple] = field(default_factory=list)
    points: list[tuple] = field(default_factory=list)


def class_folders(folder: Path) -> tuple[list[Found], list[str]]:
    """CLASS/NAME, or PART/CLASS/NAME; the picture's object is its class."""
    found = []
    for path in sorted(folder.rglob("*.png")):
        *part, label, _ = path.relative_to(folder).parts
        found.append(Found(path, PARTS[part[0]] if part else "", [(label,)]))
    return found, sorted({picture.objects[0][0] for picture in found})


def masks(folder: Path) -> tuple[list[Found], list[str]]:
    """PART/NAME.png with PARTannot/NAME.png."""
    found = [Found(path, PARTS[part]) for part in ("train", "val") for path in sorted((folder / part).iterdir())]
    return found, (folder / "classes.txt").read_text("utf-8").splitlines()


def coco(folder: Path) -> tuple[list[Found], list[str]]:
    """PART.json with PART/."""
    found = []
    for file in sorted(folder.glob("*.json")):
        table = json.loads(file.read_text())
        names = {row["id"]: row["name"] for row in table["categories"]}
        place, part = folder / file.stem, PARTS[file.stem]
        pictures = {row["id"]: Found(place / row["file_name"], part) for row in table["images"]}
        assert len(pictures) == len(table["images"])
        for row in table["annotations"]:
            x, y, wide, high = row["bbox"]
            picture = pictures[row["image_id"]]
            picture.objects.append((names[row["category_id"]], x, y, x + wide, y + high))
            values = row.get("keypoints", [])
            picture.points += list(zip(values[::3], values[1::3], strict=True))
        found += pictures.values()
    return found, list(names.values())


def yolo(folder: Path) -> tuple[list[Found], list[str]]:
    """images/PART/NAME.jpg with labels/PART/NAME.txt."""
    if (folder / "data.yaml").exists():
        lines = (folder / "data.yaml").read_text().splitlines()
        names = ast.literal_eval(next(line for line in lines if line.startswith("names")).partition(":")[2].strip())
    else:
        names = (folder / "classes.txt").read_text("utf-8").splitlines()
    found = []
    for path in sorted((folder / "images").rglob("*.jpg")):
        part = path.parent.name
        picture = Found(path, PARTS[part])
        size = np.array(Image.open(path).size)
        for line in (folder / "labels" / part / f"{path.stem}.txt").read_text().splitlines():
            kind, *values = line.split()
            centre, extent = np.array(values[:4], float).reshape(2, 2) * size
            picture.objects.append((names[int(kind)], *(centre - extent / 2), *(centre + extent / 2)))
            picture.points += [tuple(row) for row in np.array(values[4:], float).reshape(-1, 3)[:, :2] * size]
        found.append(picture)
    return found, names


def voc(folder: Path) -> tuple[list[Found], list[str]]:
    """XML files beside the pictures, or in Annotations with JPEGImages and lists."""
    lists, parts = folder / "ImageSets" / "Main", {}
    for file in lists.glob("*.txt") if lists.exists() else ():
        parts |= dict.fromkeys(file.read_text().split(), PARTS[file.stem])
    found = []
    for file in sorted(folder.rglob("*.xml")):
        root = ET.parse(file).getroot()
        beside = folder / "JPEGImages" if lists.exists() else folder
        picture = Found(beside / root.findtext("filename"), parts.get(file.stem, ""))
        assert picture.path.stem == file.stem
        for node in root.iter("object"):
            corners = (float(node.findtext(f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax"))
            picture.objects.append((node.findtext("name"), *corners))
        found.append(picture)
    return found, sorted({thing[0] for picture in found for thing in picture.objects})


def labelme(folder: Path) -> tuple[list[Found], list[str]]:
    """NAME.json beside NAME.jpg; shapes of one group are one object, and points belong to it."""
    found = []
    for file in sorted(folder.glob("*.json")):
        table = json.loads(file.read_text())
        picture, groups = Found(folder / table["imagePath"]), {}
        for number, shape in enumerate(table["shapes"]):
            if shape["shape_type"] == "point":
                picture.points.append(tuple(shape["points"][0]))
                continue
            key = ("alone", number) if shape["group_id"] is None else ("group", shape["group_id"])
            groups.setdefault(key, [shape["label"]]).extend(shape["points"])
        for label, *points in groups.values():
            picture.objects.append((label, *np.min(points, axis=0), *np.max(points, axis=0)))
        found.append(picture)
    return found, sorted({thing[0] for picture in found for thing in picture.objects})


def reader(folder: Path, task: str):
    """The reader of a twin, by the files that it has."""
    if task in ("classify", "segment"):
        return class_folders if task == "classify" else masks
    if any(folder.rglob("*.xml")):
        return voc
    if (folder / "labels").exists():
        return yolo
    return coco if (folder / "train.json").exists() else labelme


def holds(check: tuple, picture: Found, classes: list[str]) -> bool:
    """Whether a fact of one picture is so in its files."""
    kind, _, *values = check
    if kind == "box":
        return any(o[0] == values[0] and np.allclose(o[1:], values[1:], atol=0.1) for o in picture.objects)
    if kind == "objects":
        return len(picture.objects) == values[0]
    if kind == "point":
        return np.allclose(picture.points[values[0]], values[1:], atol=0.1)
    if kind == "pixels":
        place = picture.path.parent
        mask = np.array(Image.open(place.with_name(f"{place.name}annot") / picture.path.name))
        return abs((mask == classes.index(values[0])).mean() - values[1]) < 0.001
    pixels = np.array(Image.open(picture.path))
    return abs(pixels.mean() / np.iinfo(pixels.dtype).max - values[0]) < 0.003


def faults(folder: Path, task: str, expected: Expected) -> list[str]:
    """What of a twin is not as expected."""
    found, classes = reader(folder, task)(folder)
    parts = Counter(picture.part for picture in found)
    counts = dict(Counter(thing[0] for picture in found for thing in picture.objects))
    facts = {"total": len(found), "train": parts["train"] or None, "held_out": parts["held_out"] or None}
    facts |= {"classes": tuple(classes), "class_counts": counts}
    wrong = [f"{key}: {getattr(expected, key)}, found {value}" for key, value in facts.items()
             if getattr(expected, key) != value]  # fmt: skip
    for check in expected.checks:
        chosen = [picture for picture in found if picture.path.name == check[1]]
        if len(chosen) != 1 or not holds(check, chosen[0], classes):
            wrong.append(f"{check}: {len(chosen)} pictures of this name, or not so")
    for picture in found:
        Image.open(picture.path).load()
        size = Image.open(picture.path).size
        if any(min(o[1:]) < 0 or max(o[1::2]) > size[0] or max(o[2::2]) > size[1] for o in picture.objects if o[1:]):
            wrong.append(f"{picture.path.name}: a box leaves it")
    return wrong


def main() -> None:
    """One line for each twin; exit code 1 if one is not as expected."""
    failed = False
    out, cases = chosen_cases(__doc__)
    for case in cases:
        wrong = faults(out / case.name / "twin", case.task, case.twin)
        failed |= bool(wrong)
        print(f"{case.name}: {'; '.join(wrong) or f'as expected, {len(case.twin.checks)} facts of pictures'}")
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
