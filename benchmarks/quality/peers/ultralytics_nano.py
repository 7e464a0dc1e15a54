"""Ultralytics' nano detector from its yaml: `python -m benchmarks.quality.peers.ultralytics_nano train|predict ...`.

It chooses its number of threads itself: on two cores one, which does not raise its processor time.
"""

import json
import os
import shutil
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from benchmarks.quality.peers.command import run
from benchmarks.quality.sets import CELLS, voc_boxes

MODEL = "yolo26n.yaml"
# Services that Ultralytics reports to where their packages are installed
TRACKERS = ("clearml", "comet", "dvc", "hub", "mlflow", "neptune", "raytune", "tensorboard", "wandb")
SIZE = 320  # as Pellucid's detector; at 640, an epoch takes four times as long


def write_yolo(data: Path, out: Path) -> Path:
    """Write Pascal VOC as YOLO text; return the YAML file."""
    for part in ("train", "val"):
        for kind in ("images", "labels"):
            (out / kind / part).mkdir(parents=True)
        for name in (data / "ImageSets/Main" / f"{part}.txt").read_text().split():
            shutil.copy(data / "JPEGImages" / f"{name}.jpg", out / "images" / part)
            size = ET.parse(data / "Annotations" / f"{name}.xml").find("size")
            assert size is not None
            width, height = float(size.findtext("width", "")), float(size.findtext("height", ""))
            lines = []
            for class_name, (x0, y0, x1, y1) in voc_boxes(data / "Annotations" / f"{name}.xml"):
                center = f"{(x0 + x1) / 2 / width:.6f} {(y0 + y1) / 2 / height:.6f}"
                extent = f"{(x1 - x0) / width:.6f} {(y1 - y0) / height:.6f}"
                lines.append(f"{CELLS.index(class_name)} {center} {extent}\n")
            (out / "labels" / part / f"{name}.txt").write_text("".join(lines))
    file = out / "cells.yaml"
    file.write_text(json.dumps({
        "path": str(out.absolute()),
        "train": "images/train",
        "val": "images/val",
        "names": dict(enumerate(CELLS)),
    }))  # fmt: skip
    return file


def model_of(file: str) -> Any:
    """Return the model of a file, with the suppression that Ultralytics has for machines without torchvision's."""
    import torchvision
    from ultralytics import YOLO
    from ultralytics.utils.nms import TorchNMS

    torchvision.ops.nms = TorchNMS.nms
    return YOLO(file)


def train(folder: Path, out: Path, epochs: int, seed: int) -> None:
    from ultralytics import settings

    settings.update({"sync": False, **{name: False for name in TRACKERS if name in settings}})
    file = write_yolo(folder / "data", out / "yolo")
    model_of(MODEL).train(
        data=str(file),
        epochs=epochs,
        imgsz=SIZE,
        seed=seed,
        pretrained=False,
        device="cpu",
        project=str(out.absolute()),
        name="run",
        exist_ok=True,
        val=False,  # not after each epoch, which would take a part of the time
        plots=False,
    )


def predict(folder: Path, out: Path) -> None:
    model = model_of(str(out / "run/weights/last.pt"))
    options = {"imgsz": SIZE, "conf": 0.001, "stream": True, "verbose": False, "device": "cpu"}
    detections = []
    for result in model.predict(str(folder / "held_out"), **options):
        for (x0, y0, x1, y1), score, index in zip(
            result.boxes.xyxy.tolist(), result.boxes.conf.tolist(), result.boxes.cls.tolist(), strict=True
        ):
            detections.append({
                "image": Path(result.path).name,
                "class": CELLS[int(index)],
                "box": [x0, y0, x1 - x0, y1 - y0],
                "score": score,
            })  # fmt: skip
    (out / "predictions").write_text(json.dumps(detections))


def prepare(out: str) -> None:
    """Let Ultralytics send and download nothing, and keep its settings in a folder of this run."""
    os.environ["YOLO_CONFIG_DIR"] = out
    os.environ["YOLO_OFFLINE"] = "true"


if __name__ == "__main__":
    prepare(sys.argv[3])
    run(train, predict)
