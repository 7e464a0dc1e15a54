"""Figures of class folders and boxes, recomputed from raw files and written predictions by other libraries.

Those of labels and numbers are in test_tables.py, of masks in segment/test_forms.py, of points in keypoints/.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from sklearn.metrics import accuracy_score, f1_score

from pellucid.data.samples.files import write_samples
from tests.cli.conftest import Cli, cli
from tests.coco_figures import coco_figures

__all__ = ["cli"]  # the fixture
pytestmark = [pytest.mark.slow, pytest.mark.heavy, pytest.mark.usefixtures("no_report")]


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    write_samples(tmp_path / "samples")
    return tmp_path / "samples"


def trained(cli: Cli, *words: str) -> dict[str, Any]:
    """Train, and return the content of results.json with the path of the run."""
    result = cli("train", *words, "recipe.threads=1", "--json")
    assert result.code == 0, result.err
    return result.json


def test_figures_of_class_folders(samples: Path, tmp_path: Path, cli: Cli) -> None:
    data = tmp_path / "data"
    for folder in (samples / "shapes").iterdir():
        for k, file in enumerate(sorted(folder.iterdir())):
            part = "val" if k % 3 == 0 else "train"
            (data / part / folder.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(file, data / part / folder.name)
    results = trained(cli, "classify", str(data), "data.size=16", "train.epochs=4", "network.width=8", "start.weights=")
    run = results["run"]
    evaluated = cli("evaluate", run, "--data", str(data), "--json").json
    pictures = sorted(data.glob("val/*/*.png"))
    rows = cli("predict", run, *map(str, pictures), "--json").json["predictions"]
    assert [row["image"] for row in rows] == [*map(str, pictures)]
    true = [picture.parent.name for picture in pictures]
    predicted = [row["label"] for row in rows]
    accuracy = accuracy_score(true, predicted)
    assert 0.4 < accuracy < 1
    for found in (results, evaluated):
        assert (found["n"], found["accuracy"]) == (len(pictures), pytest.approx(accuracy))
    assert evaluated["macro_f1"] == pytest.approx(f1_score(true, predicted, average="macro"))


def test_figures_of_boxes(samples: Path, cli: Cli) -> None:
    pytest.importorskip("pycocotools.cocoeval")
    data = samples / "cells"
    results = trained(cli, "detect", str(data), "train.epochs=1", "data.size=160")
    run = results["run"]
    evaluated = cli("evaluate", run, "--data", str(data), "--json").json
    assert cli("detect", run, str(data / "val"), "--score", "0", "--out", "found").code == 0
    written = json.loads(Path("found/detections.json").read_text())
    truth = json.loads((data / "val.json").read_text())
    names = {image["id"]: image["file_name"] for image in written["images"]}
    classes = {category["id"]: category["name"] for category in written["categories"]}
    image_ids = {image["file_name"]: image["id"] for image in truth["images"]}
    class_ids = {category["name"]: category["id"] for category in truth["categories"]}
    found = [
        {
            "image_id": image_ids[names[entry["image_id"]]],
            "category_id": class_ids[classes[entry["category_id"]]],
            "bbox": entry["bbox"],
            "score": entry["score"],
        }
        for entry in written["annotations"]
    ]
    n_objects = len(truth["annotations"])
    ap, ap50 = coco_figures(truth, found, "bbox")
    assert 0.02 < ap < ap50
    assert (evaluated["ap"], evaluated["ap50"]) == pytest.approx((ap, ap50), abs=2e-3)
    assert evaluated["objects"] == n_objects
