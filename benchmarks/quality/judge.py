"""The figures of predictions, computed without code of Pellucid and of the other libraries."""

import json
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

MEMBRANE = 0  # value in the masks; 255 is a cell


def judge_boxes(truth: Path, predictions: Path) -> dict[str, float]:
    """Return the average precision by pycocotools.

    predictions: a JSON list of detections with the keys image (a file name), class, box (x, y, width, height), score.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    detections = json.loads(predictions.read_text())
    if not detections:
        return {"ap50": 0.0, "ap": 0.0}
    with redirect_stdout(StringIO()):
        ground = COCO(str(truth / "truth.json"))
        image_ids = {image["file_name"]: image["id"] for image in ground.dataset["images"]}
        category_ids = {category["name"]: category["id"] for category in ground.dataset["categories"]}
        results = [
            {
                "image_id": image_ids[one["image"]],
                "category_id": category_ids[one["class"]],
                "bbox": one["box"],
                "score": one["score"],
            }
            for one in detections
        ]
        evaluation = COCOeval(ground, ground.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {"ap50": float(evaluation.stats[1]), "ap": float(evaluation.stats[0])}


def judge_classes(truth: Path, predictions: Path) -> dict[str, float]:
    """Return the fraction of right classes; predictions: a JSON object of classes by file name, of all pictures."""
    true_classes: dict[str, str] = json.loads((truth / "truth.json").read_text())
    predicted: dict[str, str] = json.loads(predictions.read_text())
    right = [predicted[name] == true_class for name, true_class in true_classes.items()]
    return {"accuracy": float(np.mean(right))}


def judge_masks(truth: Path, predictions: Path) -> dict[str, float]:
    """Return the IoU of the membranes over all pixels; predictions: a folder of masks with the values of the truth."""
    intersection = union = 0
    for file in sorted((truth / "truth").iterdir()):
        true_mask = np.asarray(Image.open(file)) == MEMBRANE
        predicted_mask = np.asarray(Image.open(predictions / file.name)) == MEMBRANE
        intersection += int((true_mask & predicted_mask).sum())
        union += int((true_mask | predicted_mask).sum())
    return {"iou": intersection / union}


JUDGES: dict[str, Callable[[Path, Path], dict[str, Any]]] = {
    "cells": judge_boxes,
    "masks": judge_classes,
    "membranes": judge_masks,
}
