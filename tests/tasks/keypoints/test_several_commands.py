"""Commands with a model of key-points that was trained on crops: boxes in files, notes, explanations."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid.base.text import note_first_time
from pellucid.cli.main import main
from pellucid.combine import Sequential
from pellucid.layers import Dense, Flatten
from pellucid.layers.base import Mode
from pellucid.losses.coordinates import Coordinates
from pellucid.model import Model
from pellucid.predictor import Picture
from pellucid.studio.serve.app import application
from pellucid.tasks.keypoints import Keypoints
from pellucid.tasks.keypoints.boxes import open_boxes
from tests.tasks.keypoints.drawn import POINT_NAMES
from tests.tasks.keypoints.test_several import SIDE, folder, model  # noqa: F401  (fixtures)


def test_boxes_of_a_coco_file_are_found_for_images_in_another_folder(folder: Path, tmp_path: Path) -> None:  # noqa: F811
    beside = open_boxes(str(folder / "val.json"), "object", None)
    (tmp_path / "annotations").mkdir()
    shutil.copy(folder / "val.json", tmp_path / "annotations" / "boxes of val.json")
    elsewhere = open_boxes(str(tmp_path / "annotations" / "boxes of val.json"), "object", None)
    truth = json.loads((folder / "val.json").read_text())
    for entry in truth["images"]:
        pixels = torch.from_numpy(np.asarray(Image.open(folder / "val" / entry["file_name"])).copy()).permute(2, 0, 1)
        file = folder / "val" / entry["file_name"]
        picture = Picture(file.name, str(file), file.read_bytes)
        boxes = elsewhere(picture, pixels).boxes
        assert torch.equal(boxes, beside(picture, pixels).boxes)
        expected = [one["bbox"] for one in truth["annotations"] if one["image_id"] == entry["id"]]
        corners = [[x, y, x + w, y + h] for x, y, w, h in expected]
        np.testing.assert_allclose(boxes.numpy(), np.array(corners).reshape(-1, 4), rtol=1e-5)


@pytest.mark.parametrize("command", ["keypoints", "predict", "serve"])
def test_commands_without_boxes_say_once_what_the_model_was_trained_on(
    model: Model,  # noqa: F811
    folder: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
) -> None:
    note_first_time.cache_clear()
    model.save(tmp_path / "m.safetensors")
    for _ in range(2):
        if command == "serve":
            application("m", Model.load(tmp_path / "m.safetensors"), None)
        else:
            assert main([command, str(tmp_path / "m.safetensors"), str(folder / "val/b_00.png")]) == 0
    assert capsys.readouterr().err.count("each image is taken as one object that fills it") == 1
    note_first_time.cache_clear()
    Keypoints().predictor(model)  # as for the previews of a training
    assert capsys.readouterr().err == ""


def test_the_heat_map_of_a_named_point_is_explained(
    model: Model,  # noqa: F811
    folder: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model.save(tmp_path / "m.safetensors")
    image = Image.fromarray(np.asarray(Image.open(folder / "val/b_00.png").convert("RGB"))[:SIDE, :SIDE])
    image.save(tmp_path / "crop.png")
    for number, target in enumerate([POINT_NAMES[1], "1"]):
        out = tmp_path / f"maps{number}"
        arguments = ["--target", target, "--method", "saliency", "--out", str(out), "--json"]
        assert main(["explain", str(tmp_path / "m.safetensors"), str(tmp_path / "crop.png"), *arguments]) == 0
        result = json.loads(capsys.readouterr().out)
        x = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None] / 255
        x.requires_grad_()
        with torch.enable_grad():
            maps, _ = model.net.forward(model.params, model.scaled(x), Mode())
            score = maps[0, 1].max()
            score.backward()
        assert result["score"] == pytest.approx(score.item(), rel=1e-4)
        np.testing.assert_allclose(np.load(out / "saliency.npz")["map"], x.grad[0].abs(), rtol=1e-3, atol=1e-6)
    for target in ("thumb", "17"):
        assert main(["explain", str(tmp_path / "m.safetensors"), str(tmp_path / "crop.png"), "--target", target]) == 2
        assert f"--target: the model has no key-point '{target}'" in capsys.readouterr().err


def test_coordinates_have_no_heat_map_to_explain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = Sequential(flat=Flatten(), points=Dense(6))
    Model(net, Coordinates(), input_shape=(3, SIDE, SIDE)).save(tmp_path / "m.safetensors")
    Image.new("RGB", (SIDE, SIDE)).save(tmp_path / "a.png")
    assert main(["explain", str(tmp_path / "m.safetensors"), str(tmp_path / "a.png")]) == 2
    assert "outputs coordinates and no heat maps to explain; in Python, `pellucid.tasks" in capsys.readouterr().err
