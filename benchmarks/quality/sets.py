"""The pictures of the benchmark: what is trained on, and what all rows are measured on.

Each function writes a folder with `data`, in a layout that Pellucid reads, `held_out`, the pictures to predict, and
`truth.json`. All rows train on the same pictures. Pellucid evaluates the test part of its data after each epoch, so
this part has only some of the held-out pictures, and no choice depends on it.
"""

import json
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHOWN = 10  # held-out pictures in the test part of Pellucid's data
CELLS = ("Platelets", "RBC", "WBC")
N_CELLS = 100  # training pictures
N_PHOTOS = 200  # training pictures of each class
EVERY = 4  # of the membranes, every fourth picture is held out

SCRATCH, BACKBONE = "Pellucid, no shipped weights", "Pellucid, from the shipped backbone"


@dataclass(frozen=True)
class QualitySet:
    """A task with its pictures, and the library that a person would otherwise use."""

    title: str
    task: str  # of `pellucid train`
    predict: str  # the command of Pellucid that predicts
    source: str  # folder in ../shared/data, or in ../sets for pictures that are fetched by hand
    write: Callable[[Path, Path], None]  # from the source to a folder
    figures: dict[str, str]  # title of each figure by its key, the main one first
    starts: dict[str, tuple[str, ...]]  # settings of `pellucid train` by the title of the row
    peer: str  # module of benchmarks.quality.peers
    peer_title: str
    note: str = ""  # why a row is below another, by an experiment


def spread(items: list[Any], count: int) -> list[Any]:
    """Return `count` items at equal distances."""
    return [items[k * len(items) // count] for k in range(count)]


def write_cells(source: Path, folder: Path) -> None:
    """Write 100 training pictures of BCCD as Pascal VOC, all 87 held-out ones, and the truth in COCO's format."""
    lists = source / "ImageSets" / "Main"
    train = spread((lists / "train.txt").read_text().split(), N_CELLS)
    held_out = (lists / "val.txt").read_text().split()
    data = folder / "data"
    parts = {"train": train, "val": spread(held_out, SHOWN)}
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (data / name).mkdir(parents=True)
    for part, names in parts.items():
        (data / "ImageSets/Main" / f"{part}.txt").write_text("".join(f"{name}\n" for name in names))
        for name in names:
            shutil.copy(source / "Annotations" / f"{name}.xml", data / "Annotations")
            shutil.copy(source / "JPEGImages" / f"{name}.jpg", data / "JPEGImages")
    (folder / "held_out").mkdir()
    truth: dict[str, Any] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": k, "name": name} for k, name in enumerate(CELLS)],
    }
    for image_id, name in enumerate(held_out):
        shutil.copy(source / "JPEGImages" / f"{name}.jpg", folder / "held_out")
        truth["images"].append({"id": image_id, "file_name": f"{name}.jpg"})
        for class_name, (x0, y0, x1, y1) in voc_boxes(source / "Annotations" / f"{name}.xml"):
            truth["annotations"].append({
                "id": len(truth["annotations"]) + 1,
                "image_id": image_id,
                "category_id": CELLS.index(class_name),
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": (x1 - x0) * (y1 - y0),
                "iscrowd": 0,
            })  # fmt: skip
    (folder / "truth.json").write_text(json.dumps(truth))


def voc_boxes(file: Path) -> list[tuple[str, tuple[float, float, float, float]]]:
    """Return the class and the corners of each box with an area in a file of Pascal VOC."""
    boxes = []
    for node in ET.parse(file).iter("object"):
        x0, y0, x1, y1 = (float(node.findtext(f"bndbox/{key}", "")) for key in ("xmin", "ymin", "xmax", "ymax"))
        if x1 > x0 and y1 > y0:
            boxes.append((node.findtext("name", ""), (x0, y0, x1, y1)))
    return boxes


def write_photos(source: Path, folder: Path) -> None:
    """Write 200 training pictures of each class folder, and all others as held out; truth: the class by file name."""
    (folder / "held_out").mkdir(parents=True)
    truth = {}
    for class_folder in sorted(path for path in source.iterdir() if path.is_dir()):
        files = sorted(class_folder.iterdir())
        train = set(spread(files, N_PHOTOS))
        held_out = [file for file in files if file not in train]
        parts = {"train": sorted(train), "test": spread(held_out, SHOWN)}
        for part, part_files in parts.items():
            target = folder / "data" / part / class_folder.name
            target.mkdir(parents=True)
            for file in part_files:
                shutil.copy(file, target)
        for k, file in enumerate(held_out):
            name = f"{class_folder.name}-{k:04}{file.suffix}"
            shutil.copy(file, folder / "held_out" / name)
            truth[name] = class_folder.name
    (folder / "truth.json").write_text(json.dumps(truth))


def write_membranes(source: Path, folder: Path) -> None:
    """Write every fourth picture as held out and the others for training; the truth is a folder of masks."""
    files = sorted((source / "image").iterdir(), key=lambda file: int(file.stem))
    (folder / "held_out").mkdir(parents=True)
    (folder / "truth").mkdir()
    for part in ("train", "val"):
        for kind in ("image", "label"):
            (folder / "data" / kind / part).mkdir(parents=True)
    for k, file in enumerate(files):
        mask = source / "label" / file.name
        is_held_out = k % EVERY == 0
        if is_held_out:
            shutil.copy(file, folder / "held_out")
            shutil.copy(mask, folder / "truth")
        part = "val" if is_held_out else "train"
        shutil.copy(file, folder / "data" / "image" / part)
        shutil.copy(mask, folder / "data" / "label" / part)


SETS: dict[str, QualitySet] = {
    "cells": QualitySet(
        title="Detection: 100 pictures of blood cells (bccd), 87 held out",
        task="detect",
        predict="detect",
        source="bccd",
        write=write_cells,
        figures={"ap50": "AP50", "ap": "AP"},
        # The default start, the shipped `bccd`, was trained on all 205 training pictures of this set.
        starts={SCRATCH: ("start.weights=",), BACKBONE: ("start.weights=backbone",)},
        peer="ultralytics_nano",
        peer_title="Ultralytics' YOLO26n",
    ),
    "masks": QualitySet(
        title="Class folders: 400 photos of faces with and without a mask, 976 held out",
        task="classify",
        predict="predict",
        # The folders with_mask and without_mask of `experiements/data` in github.com/prajnasb/observations.
        source="masks",
        write=write_photos,
        figures={"accuracy": "accuracy"},
        starts={SCRATCH: ("start.weights=",), BACKBONE: ()},
        peer="timm_resnet18",
        peer_title="timm's ResNet-18",
    ),
    "membranes": QualitySet(
        title="Segmentation: 15 pictures of nerve membranes, 5 held out",
        task="segment",
        predict="segment",
        source="wild/membrane",
        write=write_membranes,
        figures={"iou": "IoU of the membranes"},
        starts={SCRATCH: ()},  # for thin lines, the default starts from no weights
        peer="smp_unet",
        peer_title="segmentation_models.pytorch's U-Net",
        note="The U-Net of 10 minutes has a ResNet-34 as its encoder. Pellucid's network trained in its place, by the "
        "same script in 85 epochs (seed 0), reaches 66.5 %: so 1.0 of the 1.3 points come from the network. A wider "
        "one of Pellucid's (24 channels, 76 epochs, seed 0) reaches 66.2 %.",
    ),
}
