"""Recipes of generators: the run folder, its report, the doctor, and annotated images as training data."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid.base.errors import PellucidError
from pellucid.data import Arrays, DetectionFolder, load
from pellucid.data.detection import images_alone
from pellucid.doctor import diagnose
from pellucid.recipe.job import Run, train
from pellucid.recipe.resume import resume
from pellucid.tasks.generate.doctor import CHECKS, case_of_model, case_of_run

RECIPE_TOML = """
[data]
name = "digits"
[objective]
model = "gmmn"
size = 8
bandwidths = [0.5, 2.0, 8.0]
[train]
epochs = 2
batch_size = 300
keep = [0, 2]
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("generators")
    (folder / "new-digits.toml").write_text(RECIPE_TOML)
    return train(folder / "new-digits.toml", out=folder, progress=False)


@pytest.mark.slow
def test_the_run_has_a_report_with_samples(run: Run) -> None:
    for name in ("samples", "epochs", "nearest", "walks"):
        assert (run.path / "figures" / f"{name}.png").is_file()
    text = run.report.read_text(encoding="utf-8")
    assert "128 samples, none selected" in text
    assert run.metrics["n"] == 359
    assert resume(run.path, progress=False).metrics["sha256"] == run.metrics["sha256"]


@pytest.mark.slow
def test_the_doctor_examines_the_run_and_the_model(run: Run) -> None:
    case = case_of_run(run.path)
    assert case.trained
    assert case.history is not None
    assert len(case.train) == len(load("digits").train)
    assert diagnose(case_of_model(run.model), checks=CHECKS).healthy
    assert case_of_model(run.model).validation is not None
    assert case_of_model(run.model, None, case.history).history is case.history


def test_a_wrong_image_size_is_refused_with_both_sizes(tmp_path: Path) -> None:
    (tmp_path / "odd.toml").write_text(RECIPE_TOML.replace("size = 8", "size = 28"))
    with pytest.raises(PellucidError, match="outputs images of 1 x 28 x 28, but the data have 1 x 8 x 8"):
        train(tmp_path / "odd.toml", out=tmp_path, progress=False)
    assert not list(tmp_path.glob("odd-*"))


def test_annotated_images_are_loaded_without_their_objects(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (3, 12, 12, 3), dtype=np.uint8)
    for k, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "train" / f"{k}.png")
    box = {"category_id": 1, "bbox": [1, 2, 5, 6], "area": 30, "iscrowd": 0}
    coco = {
        "images": [{"id": k, "file_name": f"{k}.png", "height": 12, "width": 12} for k in range(3)],
        "annotations": [{"id": k + 1, "image_id": k, **box} for k in range(3)],
        "categories": [{"id": 1, "name": "face"}],
    }
    (tmp_path / "train.json").write_text(json.dumps(coco))
    source = DetectionFolder(tmp_path)
    result = images_alone(source)
    assert isinstance(result, Arrays)
    assert torch.equal(result.x, torch.from_numpy(pixels).movedim(-1, 1))
    assert (result.y.tolist(), result.classes) == ([0, 0, 0], None)
    digits = load("digits").train
    assert images_alone(digits) is digits
