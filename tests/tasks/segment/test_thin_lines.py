"""Masks of thin lines get a U-Net at full size, masks of large or small objects the pretrained FCN-8s."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pellucid.recipe.own import recipe_for

WILD = Path(__file__).resolve().parents[4] / "shared/data/wild/membrane"


def write(folder: Path, draw: str, side: int) -> None:
    """Write six pictures with masks of 0 and 1: a grid of lines, one large disc, or three small ones."""
    for part in ("images", "masks"):
        (folder / part).mkdir()
    rng = np.random.default_rng(0)
    for k in range(6):
        mask = Image.new("L", (side, side))
        canvas = ImageDraw.Draw(mask)
        if draw == "lines":
            for start in range(10 + k, side, 30):
                canvas.line((start, 0, start, side), 1, 4)
                canvas.line((0, start, side, start), 1, 4)
        for _ in range({"lines": 0, "disc": 1, "dots": 3}[draw]):
            radius = side // 4 if draw == "disc" else 5
            x, y = rng.integers(radius, side - radius, 2)
            canvas.ellipse((x - radius, y - radius, x + radius, y + radius), 1)
        mask.save(folder / f"masks/{k}.png")
        Image.new("RGB", (side, side)).save(folder / f"images/{k}.png")


@pytest.mark.parametrize("side", [160, 400])
@pytest.mark.parametrize(("draw", "name"), [("lines", "unet"), ("disc", "fcn8"), ("dots", "fcn8")])
def test_the_network_follows_the_thickness_of_lines(tmp_path: Path, draw: str, name: str, side: int) -> None:
    write(tmp_path, draw, side)
    recipe, settings = recipe_for("segment", str(tmp_path), {})
    assert recipe.network.name == name
    assert ("augment.elastic_alpha" in settings) == (name == "unet")
    assert (settings.get("augment.scale") == [1.0, 1.0]) == (name == "unet")
    assert settings["data.size"] == (side if name == "unet" else min(side, 320))


# 6 pictures: 400 by 400 have crops of 256 by 256, of which one is enough for a batch; of 90 by 90, the batch stays.
@pytest.mark.parametrize(
    ("side", "settings", "batch_size"),
    [
        (400, {}, 4),
        (400, {"train.epochs": 50}, 4),  # 100 steps of 4, the last batch of each epoch with 2
        (400, {"train.epochs": 49}, 2),
        (400, {"train.epochs": 33}, 1),  # 99 steps of 2
        (400, {"train.epochs": 1}, 1),
        (400, {"train.minutes": 10}, 4),  # 300 epochs
        (400, {"train.minutes": 1}, 1),  # 30 epochs
        (400, {"train.epochs": 1, "train.batch_size": 3}, 3),
        (400, {"train.epochs": 1, "augment.crop_size": [16, 16]}, 4),
        (100, {"train.epochs": 1}, 2),
        (90, {"train.epochs": 1}, 4),
    ],
)
def test_short_trainings_have_smaller_batches(
    tmp_path: Path, side: int, settings: dict[str, Any], batch_size: int
) -> None:
    write(tmp_path, "lines", side)
    recipe, _ = recipe_for("segment", str(tmp_path), settings)
    assert recipe.network.name == "unet"
    assert recipe.train.batch_size == batch_size


def test_short_trainings_of_other_masks_keep_their_batches(tmp_path: Path) -> None:
    write(tmp_path, "disc", 160)
    batch_sizes = [
        recipe_for("segment", str(tmp_path), settings)[0].train.batch_size
        for settings in ({}, {"train.epochs": 1}, {"train.minutes": 1})
    ]
    assert batch_sizes == [6, 6, 6]


@pytest.mark.skipif(not WILD.exists(), reason="needs ../shared")
def test_membranes_are_thin_lines() -> None:
    recipe, _ = recipe_for("segment", str(WILD), {})
    assert recipe.network.name == "unet"
