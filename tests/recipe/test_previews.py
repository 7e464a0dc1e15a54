"""Previews: validation images with predictions, written during training."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from PIL import Image

import pellucid
from pellucid.predictor import Predicted
from pellucid.recipe.previews import Previews, with_prediction
from pellucid.report.figures.plane import class_colour
from pellucid.run.folder import RunFolder


@pytest.mark.heavy
@pytest.mark.slow
def test_previews_are_drawn_after_epochs_1_2_4_and_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {"train.epochs": 5, "recipe.threads": 1}
    run = pellucid.train("digits", out=tmp_path, progress=False, **settings)
    preview_files = RunFolder(run.path).previews()
    assert [*preview_files] == [1, 2, 4, 5]
    with Image.open(preview_files[5]) as picture:
        assert min(picture.size) > 200
    assert "While it learned" in run.report.read_text(encoding="utf-8")
    monkeypatch.setattr(Previews, "on_epoch_end", lambda *_: None)
    run_without_previews = pellucid.train("digits", out=tmp_path, progress=False, **settings)
    assert run_without_previews.metrics["sha256"] == run.metrics["sha256"]  # previews do not change the weights
    assert not RunFolder(run_without_previews.path).previews()


@pytest.mark.slow
def test_a_generator_has_no_previews(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"data.name": "digits", "objective.size": 8, "train.epochs": 1, "recipe.threads": 1}
    run = pellucid.train("mnist-dcgan", out=tmp_path, progress=False, **settings)
    assert not RunFolder(run.path).previews()


GREY = torch.full((3, 40, 60), 90, dtype=torch.uint8)


def test_boxes_are_drawn_in_the_colour_of_their_class() -> None:
    predicted = Predicted({}, "", boxes=torch.tensor([[10.0, 8, 50, 32]]), scores=torch.tensor([0.9]), labels=("dog",))
    image, title = with_prediction(GREY, predicted, ("cat", "dog"))
    scale = image.shape[1] // 60
    colour = [round(255 * part) for part in to_rgb(class_colour(1, 2))]
    assert title == ""
    assert image[20 * scale, 10 * scale].tolist() == colour  # left edge
    assert image[20 * scale, 30 * scale].tolist() == [90, 90, 90]  # inside the box


def test_masks_labels_points_and_images_are_drawn_on_the_picture() -> None:
    mask = torch.zeros(40, 60, dtype=torch.int64)
    mask[:, 30:] = 1
    image, _ = with_prediction(GREY, Predicted({}, "", mask=mask, labels=("road", "sky")), ())
    assert not np.array_equal(image[20, 10], image[20, 50])
    assert len(np.unique(image.reshape(-1, 3), axis=0)) == 2
    image, title = with_prediction(GREY, Predicted({}, "", label="dog", confidence=0.875), ("cat", "dog"))
    assert (image == 90).all()
    assert title == "dog 87.50 %"
    image, title = with_prediction(GREY, Predicted({}, "", points=torch.tensor([[30.0, 20, 0.9]]), confidence=0.9), ())
    assert (image[0, 0] == 90).all()
    assert (image[image.shape[0] // 2, image.shape[1] // 2] != 90).any()
    coloured = torch.zeros(3, 40, 60, dtype=torch.uint8)
    assert (with_prediction(GREY, Predicted({}, "", image=coloured), ())[0] == 0).all()
