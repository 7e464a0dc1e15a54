"""The files of `pellucid samples`: pictures for the shipped models, and folders to train on."""

import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from pellucid.base.errors import PellucidError
from pellucid.base.files import make_folder, write_atomically
from pellucid.data.samples.cells import CLASSES as CELLS
from pellucid.data.samples.cells import blood_smear
from pellucid.data.samples.mice import POINTS as MOUSE_POINTS
from pellucid.data.samples.mice import mice
from pellucid.data.samples.portraits import face, hand
from pellucid.data.samples.scenes import CLASSES as STREET
from pellucid.data.samples.scenes import people, street
from pellucid.report.embedded import encoded

PART_SIZES = {"train": 24, "val": 8}  # the number of pictures in each part of a folder
PICTURES_PER_CLASS = 20  # pictures of each class in the folders of classes
TABLE_PICTURES = 120  # in the folders with a table
SEVERAL_DIGITS = 4  # the digits 0, 1, 2 and 3
SHAPES = ("circle", "square", "triangle")
_FIRST_SEEDS = {"train": 1000, "val": 2000}  # the seeds of the drawn pictures in a folder


@dataclass(frozen=True)
class Sample:
    """A sample picture or folder: its name, a description, whether it was drawn, and a command to try on it."""

    name: str
    about: str
    is_drawn: bool
    command: str


SAMPLES = (
    Sample("digit.png", "a handwritten digit of scikit-learn's, enlarged", False, "predict mnist-lenet {}"),
    Sample(
        "flower.jpg",
        "a photo by vultilion (CC BY 2.0), from scikit-learn",
        False,
        "colorize colorize {} --out found/flower",
    ),
    Sample(
        "china.jpg",
        "a photo by danielbuechele (CC BY 2.0), from scikit-learn",
        False,
        "segment camvid {} --out found/china",
    ),
    Sample("cells.jpg", "blood cells, drawn", True, "detect bccd {} --out found/cells"),
    Sample("people.jpg", "people in a park, drawn", True, "detect pennfudan {} --out found/people"),
    Sample("street.jpg", "a street, drawn", True, "segment camvid {} --out found/street"),
    Sample("face.jpg", "a face, drawn", True, "keypoints faces {} --out found/face"),
    Sample("hand.jpg", "the hand sign 5, drawn", True, "predict signs {}"),
    Sample("digits", "handwritten digits of scikit-learn's in a folder for each class", False, "train classify {}"),
    Sample("shapes", "circles, squares and triangles, drawn, in a folder for each class", True, "train classify {}"),
    Sample("several", "several digits of scikit-learn's in a picture, in a table", False, "train classify {}"),
    Sample("thermometers", "drawn thermometers with their temperature in a table", True, "train regress {}"),
    Sample("cells", "drawn blood cells with boxes, in COCO's format", True, "train detect {}"),
    Sample("faces", "drawn faces with key-points, in COCO's format", True, "train keypoints {}"),
    Sample(
        "mice",
        "drawn mice, several in a picture, with boxes and key-points, in COCO's format",
        True,
        "train keypoints {}",
    ),
    Sample(
        "cars",
        "drawn streets, each with a mask NAME_mask.png that is 255 for cars and 0 elsewhere",
        True,
        "train segment {}",
    ),
    Sample("street", "drawn streets with a class for each pixel", True, "train segment {}"),
)


def write_samples(folder: str | os.PathLike[str]) -> tuple[Sample, ...]:
    """Write all samples into a new or empty folder, the same files each time, and return them.

    In the commands of the result, {} is the sample's path. Raises PellucidError for a folder that is not empty.
    """
    path = Path(folder)
    if path.is_dir() and any(path.iterdir()):
        raise PellucidError(f"{path} is not empty; name a new folder for the samples")
    make_folder(path)
    for name, data in (
        *single_pictures(),
        *_digit_files(),
        *_shape_files(),
        *_several_files(),
        *_thermometer_files(),
        *_cell_files(),
        *_face_files(),
        *_mouse_files(),
        *_street_files(),
        *_car_files(),
    ):
        make_folder((path / name).parent)
        write_atomically(path / name, data, durable=False)
    write_atomically(path / "README.md", _readme(path).encode(), durable=False)
    return SAMPLES


def command_for(sample: Sample, folder: Path) -> str:
    """Return the command line to try on a sample in a folder."""
    return "pellucid " + sample.command.format(shlex.quote(str(folder / sample.name)))


def single_pictures() -> Iterator[tuple[str, bytes]]:
    """Yield the names and the bytes of the single pictures."""
    images, targets = _scikit_digits()
    held_out_digit = images[targets == 3][44]  # the recipe `digits` is not trained on it
    enlarged_digit = Image.fromarray(held_out_digit).resize((160, 160), Image.Resampling.BICUBIC)
    yield "digit.png", _png(ImageOps.expand(enlarged_digit, 48))
    photos = files("sklearn.datasets.images")
    for name in ("flower.jpg", "china.jpg"):
        yield name, photos.joinpath(name).read_bytes()
    for name, image in {
        "cells": blood_smear(0)[0], "people": people(1)[0], "street": street(0)[0], "face": face(0)[0], "hand": hand(0)
    }.items():  # fmt: skip
        yield f"{name}.jpg", _jpeg(image)


def _scikit_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-learn's digits (N, 8, 8) uint8 and their classes."""
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    return (digits["images"] * 255 / 16).round().astype(np.uint8), digits["target"]


def _digit_files() -> Iterator[tuple[str, bytes]]:
    images, targets = _scikit_digits()
    for digit in range(10):
        for k, image in enumerate(images[targets == digit][:PICTURES_PER_CLASS]):
            yield f"digits/{digit}/{k:02d}.png", _png(Image.fromarray(image))


def _shape_files() -> Iterator[tuple[str, bytes]]:
    for label, name in enumerate(SHAPES):
        for k in range(PICTURES_PER_CLASS):
            rng = np.random.default_rng([label, k])
            background, colour = rng.integers(0, 110, 3), rng.integers(140, 256, 3)
            x, y, radius = *rng.uniform(48, 80, 2), float(rng.uniform(24, 40))
            image = Image.new("RGB", (128, 128), tuple(background.tolist()))
            draw, fill = ImageDraw.Draw(image), tuple(colour.tolist())
            if name == "circle":
                draw.circle((x, y), radius, fill=fill)
            else:
                sides = 4 if name == "square" else 3
                draw.regular_polygon((x, y, 1.2 * radius), sides, rotation=float(rng.uniform(0, 360)), fill=fill)
            yield f"shapes/{name}/{k:02d}.png", _png(image.reduce(4))


def _several_files() -> Iterator[tuple[str, bytes]]:
    """Yield pictures of one to three of the digits 0 to 3 side by side, and labels.csv with a list for each."""
    images, targets = _scikit_digits()
    rows = ["file,digits"]
    for k in range(TABLE_PICTURES):
        rng = np.random.default_rng([4, k])
        digits = rng.permutation(SEVERAL_DIGITS)[: rng.integers(1, 4)].tolist()
        canvas = np.zeros((24, 24), dtype=np.uint8)
        for column, digit in zip(rng.permutation(3).tolist(), digits, strict=False):  # some of the columns stay empty
            digit_images = images[targets == digit]
            top, left = int(rng.integers(0, 17)), 8 * column
            canvas[top : top + 8, left : left + 8] = digit_images[rng.integers(len(digit_images))]
        yield f"several/images/{k:03d}.png", _png(Image.fromarray(canvas))
        rows.append(f"{k:03d}.png,{'|'.join(map(str, sorted(digits)))}")
    yield "several/labels.csv", "\n".join([*rows, ""]).encode()


def _thermometer_files() -> Iterator[tuple[str, bytes]]:
    """Yield drawn thermometers, and labels.csv with the temperature of each from -20 to 40 degrees."""
    rows = ["file,temperature (°C)"]
    for k in range(TABLE_PICTURES):
        rng = np.random.default_rng([5, k])
        temperature = float(rng.uniform(-20, 40))
        image = Image.new("RGB", (96, 96), tuple(rng.integers(200, 256, 3).tolist()))
        draw, x = ImageDraw.Draw(image), float(rng.uniform(32, 64))
        draw.rounded_rectangle((x - 7, 6, x + 7, 84), 7, fill=(255, 255, 255), outline=(90, 90, 90))
        draw.circle((x, 80), 10, fill=(200, 30, 30))
        draw.rectangle((x - 4, 74 - (temperature + 20), x + 4, 80), fill=(200, 30, 30))
        yield f"thermometers/{k:03d}.png", _png(image.reduce(3))
        rows.append(f"{k:03d}.png,{temperature:.1f}")
    yield "thermometers/labels.csv", "\n".join([*rows, ""]).encode()


def _cell_files() -> Iterator[tuple[str, bytes]]:
    def draw(seed: int) -> tuple[Image.Image, list[dict[str, Any]]]:
        image, boxes = blood_smear(seed, 240, 180, red=int(np.random.default_rng(seed).integers(5, 13)))
        return image, [_annotation(CELLS.index(name), *corners) for name, *corners in boxes]

    yield from _coco_files("cells", draw, [{"id": k + 1, "name": name} for k, name in enumerate(CELLS)])


def _face_files() -> Iterator[tuple[str, bytes]]:
    names = [f"point_{k}" for k in range(len(face(0)[1]))]
    category: dict[str, Any] = {"id": 1, "name": "face", "keypoints": names, "skeleton": []}

    def draw(seed: int) -> tuple[Image.Image, list[dict[str, Any]]]:
        image, points = face(seed, 112, max_variation=0.3)
        coordinates = [value for x, y in points for value in (round(x, 2), round(y, 2), 2)]
        return image, [
            _annotation(0, 0.0, 0.0, 112.0, 112.0) | {"keypoints": coordinates, "num_keypoints": len(points)}
        ]

    yield from _coco_files("faces", draw, [category])


def _mouse_files() -> Iterator[tuple[str, bytes]]:
    category: dict[str, Any] = {"id": 1, "name": "mouse", "keypoints": [*MOUSE_POINTS], "skeleton": []}

    def draw(seed: int) -> tuple[Image.Image, list[dict[str, Any]]]:
        image, drawn_mice = mice(seed, 2 + seed % 4)
        annotations: list[dict[str, Any]] = []
        for mouse in drawn_mice:
            coordinates = [value for x, y in mouse.points for value in (round(x, 2), round(y, 2), 2)]
            annotations.append(
                _annotation(0, *mouse.box) | {"keypoints": coordinates, "num_keypoints": len(mouse.points)}
            )
        return image, annotations

    yield from _coco_files("mice", draw, [category])


def _coco_files(name: str, draw: Any, categories: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, bytes]]:
    """Yield the files of a folder in COCO's format; draw(seed) returns an image and its annotations."""
    for part, count in PART_SIZES.items():
        images, annotations = [], []
        for k in range(count):
            image, image_annotations = draw(_FIRST_SEEDS[part] + k)
            file = f"{k:02d}.jpg"
            yield f"{name}/{part}/{file}", _jpeg(image)
            images.append({"id": k + 1, "file_name": file, "height": image.height, "width": image.width})
            annotations += [
                {"id": len(annotations) + n, "image_id": k + 1, **annotation}
                for n, annotation in enumerate(image_annotations, 1)
            ]
        document = {"images": images, "annotations": annotations, "categories": categories}
        yield f"{name}/{part}.json", json.dumps(document).encode()


def _annotation(label: int, x0: float, y0: float, x1: float, y1: float) -> dict[str, Any]:
    width, height = x1 - x0, y1 - y0
    box = [round(value, 2) for value in (x0, y0, width, height)]
    return {"category_id": label + 1, "bbox": box, "area": round(width * height, 2), "iscrowd": 0}


def _street_files() -> Iterator[tuple[str, bytes]]:
    yield "street/classes.txt", "".join(f"{name}\n" for name in STREET).encode()
    for part, count in PART_SIZES.items():
        for k in range(count):
            image, labels = street(_FIRST_SEEDS[part] + k, 160, 120)
            yield f"street/{part}/{k:02d}.jpg", _jpeg(image)
            yield f"street/{part}annot/{k:02d}.png", _png(Image.fromarray(labels))


def _car_files() -> Iterator[tuple[str, bytes]]:
    for part, count in PART_SIZES.items():
        for k in range(count):
            image, labels = street(_FIRST_SEEDS[part] + k, 160, 120)
            yield f"cars/{part}/{k:02d}.jpg", _jpeg(image)
            yield (
                f"cars/{part}/{k:02d}_mask.png",
                _png(Image.fromarray((labels == STREET.index("car")) * np.uint8(255))),
            )


def _readme(folder: Path) -> str:
    lines = "\n".join(f"- `{sample.name}`: {sample.about}\n  `{command_for(sample, folder)}`" for sample in SAMPLES)
    return f"""# Samples, written by `pellucid samples`

What is called drawn was painted by a program, not photographed: it shows how the commands work, not how well they do
on photographs. The boxes, key-points and classes of the folders are those of the drawing.

{lines}
"""


def _png(image: Image.Image) -> bytes:
    return encoded(image, "PNG", optimize=True)


def _jpeg(image: Image.Image) -> bytes:
    return encoded(image, "JPEG", quality=88)
