"""From the raw files of each form of key-points of several objects to an evaluated model, by the commands of users."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from pellucid.base.text import note_first_time
from pellucid.cli.main import main
from pellucid.data import load_image
from pellucid.data.samples.files import PART_SIZES, write_samples
from pellucid.data.samples.mice import POINTS, Mouse, mice
from pellucid.layers import Mode
from pellucid.model import Model
from pellucid.run.folder import RunFolder
from pellucid.tasks.keypoints.finder import explain_point
from tests.coco_figures import coco_figures

pytestmark = [pytest.mark.slow, pytest.mark.heavy]
COUNT = 10  # pictures
Drawn = dict[str, tuple[Image.Image, list[Mouse]]]


@pytest.fixture(autouse=True)
def each_note_is_new():
    note_first_time.cache_clear()


def write_coco(root: Path, drawn: Drawn) -> None:
    images, annotations = [], []
    for number, (name, (image, animals)) in enumerate(drawn.items(), 1):
        image.save(root / name)
        images.append({"id": number, "file_name": name, "height": image.height, "width": image.width})
        for mouse in animals:
            x0, y0, x1, y1 = mouse.box
            annotations.append({
                "id": len(annotations) + 1, "image_id": number, "category_id": 1, "iscrowd": 0,
                "bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0),
                "keypoints": [value for x, y in mouse.points for value in (x, y, 2)], "num_keypoints": len(POINTS),
            })  # fmt: skip
    categories = [{"id": 1, "name": "mouse", "keypoints": [*POINTS], "skeleton": []}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations.json").write_text(json.dumps(content))


def write_yolo(root: Path, drawn: Drawn) -> None:
    for folder in ("images", "labels"):
        (root / folder).mkdir()
    settings = {"names": ["mouse"], "kpt_shape": [len(POINTS), 3], "flip_idx": [0, 2, 1, 3]}
    (root / "data.yaml").write_text(yaml.safe_dump(settings))
    for name, (image, animals) in drawn.items():
        image.save(root / "images" / name)
        scale = np.array([image.width, image.height])
        lines = []
        for mouse in animals:
            low, high = np.array(mouse.box[:2]) / scale, np.array(mouse.box[2:]) / scale
            points = [[*(np.array(point) / scale), 2] for point in mouse.points]
            lines.append(" ".join(map(str, [0, *((low + high) / 2), *(high - low), *np.ravel(points)])))
        (root / "labels" / name).with_suffix(".txt").write_text("\n".join(lines))


def write_deeplabcut(root: Path, drawn: Drawn) -> None:
    folder = root / "labeled-data/cage"
    folder.mkdir(parents=True)
    n_animals = max(len(animals) for _, animals in drawn.values())
    columns = [(f"mouse{k}", part, axis) for k in range(n_animals) for part in POINTS for axis in "xy"]
    rows = [["scorer", "", "", *["me"] * len(columns)]]
    for k, title in enumerate(("individuals", "bodyparts", "coords")):
        rows.append([title, "", "", *[column[k] for column in columns]])
    for name, (image, animals) in drawn.items():
        image.save(folder / name)
        cells = [str(value) for mouse in animals for point in mouse.points for value in point]
        rows.append(["labeled-data", "cage", name, *cells, *[""] * (len(columns) - len(cells))])
    with (folder / "CollectedData_me.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def write_labelme(root: Path, drawn: Drawn) -> None:
    for name, (image, animals) in drawn.items():
        image.save(root / name)
        shapes = [
            {"label": label, "points": [point], "group_id": k, "shape_type": "point", "flags": {}}
            for k, mouse in enumerate(animals)
            for label, point in zip(POINTS, mouse.points, strict=True)
        ]
        content = {"shapes": shapes, "imagePath": name, "imageHeight": image.height, "imageWidth": image.width}
        (root / name).with_suffix(".json").write_text(json.dumps(content))


FORMS: dict[str, Callable[[Path, Drawn], None]] = {
    "COCO": write_coco, "YOLO pose": write_yolo, "DeepLabCut": write_deeplabcut, "labelme": write_labelme,
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_model_is_trained_evaluated_used_explained_and_exported(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    drawn = {f"img{k:02d}.png": mice(k, 1 + k % 3, 160, 160) for k in range(COUNT)}
    root = tmp_path / "set"
    root.mkdir()
    FORMS[form](root, drawn)
    assert main(["train", "keypoints", str(root), "train.epochs=1", "train.batch_size=8", "--out", "runs"]) == 0
    plan = capsys.readouterr().err
    assert "crops around boxes with objects of " in plan
    assert "3 x 64 x 64 values" in plan
    (run,) = Path("runs").iterdir()
    assert main(["evaluate", str(run), "--data", str(root), "--json"]) == 0
    evaluated = json.loads(capsys.readouterr().out)
    results = json.loads((run / "results.json").read_text())
    assert evaluated["nme"] == pytest.approx(results["nme"], rel=0.02)  # the same crops, resized once
    assert evaluated["keypoint_ap"] == pytest.approx(results["keypoint_ap"], abs=0.02)
    assert results["baseline"]["name"] == "the mean position of each point"

    pictures = Path("pictures")
    pictures.mkdir()
    for name, (image, _) in drawn.items():
        image.save(pictures / name)
    assert main(["keypoints", str(run), str(pictures), "--boxes", str(root), "--out", "found"]) == 0
    written = json.loads(Path("found/keypoints.json").read_text())
    assert written["categories"][0]["keypoints"] == ([f"p{k}" for k in range(4)] if form == "YOLO pose" else [
        *(sorted(POINTS) if form == "labelme" else POINTS)
    ])  # fmt: skip
    for image in written["images"]:
        entries = [entry for entry in written["annotations"] if entry["image_id"] == image["id"]]
        animals = drawn[image["file_name"]][1]
        assert len(entries) == len(animals)
        for entry, mouse in zip(entries, animals, strict=True):
            x, y, width, height = entry["bbox"]
            assert abs(x + width / 2 - (mouse.box[0] + mouse.box[2]) / 2) < 8
            found = np.array(entry["keypoints"]).reshape(-1, 3)[:, :2]
            assert np.all(np.abs(found - (x + width / 2, y + height / 2)) < max(width, height))

    model = Model.load(RunFolder(run).best)
    picture = load_image(str(pictures / "img00.png"))
    explanation = explain_point(model, picture[:, :64, :64], 1, "y", "saliency")
    assert explanation.shape == (64, 64)
    assert float(explanation.abs().sum()) > 0
    assert main(["export", str(run), "--to", "onnx", "--out", "m.onnx"]) == 0
    session = onnxruntime.InferenceSession("m.onnx", providers=["CPUExecutionProvider"])
    crop = picture[None, :, :64, :64]
    (maps,) = session.run(None, {session.get_inputs()[0].name: crop.float().numpy() / 255})
    expected = model.net.forward(model.params, model.scaled(crop), Mode())[0]
    np.testing.assert_allclose(maps, expected, atol=1e-3)


def test_the_sample_folder_is_learned_and_its_files_are_those_that_pycocotools_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pycocotools.cocoeval")
    monkeypatch.chdir(tmp_path)
    write_samples(tmp_path / "try")
    assert main(["train", "keypoints", "try/mice", "train.epochs=3", "--out", "runs"]) == 0
    (run,) = Path("runs").iterdir()
    capsys.readouterr()
    assert main(["evaluate", str(run), "--data", "try/mice", "--json"]) == 0
    evaluated = json.loads(capsys.readouterr().out)
    truth: dict[str, Any] = json.loads(Path("try/mice/val.json").read_text())
    assert (evaluated["n"], len(truth["images"])) == (len(truth["annotations"]), PART_SIZES["val"])
    assert main(["keypoints", str(run), "try/mice/val", "--boxes", "try/mice/val.json", "--out", "found"]) == 0
    results = json.loads(Path("found/keypoints.json").read_text())["annotations"]
    keys = ("image_id", "category_id", "keypoints", "score", "bbox")
    figures = coco_figures(truth, [{key: entry[key] for key in keys} for entry in results], "keypoints", [0.05] * 4)
    assert figures == pytest.approx([evaluated["keypoint_ap"], evaluated["keypoint_ap50"]], abs=1e-3)
    errors = []
    for entry, true in zip(results, truth["annotations"], strict=True):
        points, labelled = (np.array(one["keypoints"]).reshape(-1, 3)[:, :2] for one in (entry, true))
        diagonal = np.linalg.norm(np.ptp(labelled, 0))
        errors.append(np.linalg.norm(points - labelled, axis=1).mean() / diagonal)
    assert evaluated["nme"] == pytest.approx(float(np.mean(errors)), rel=1e-3)
    baseline = json.loads((run / "results.json").read_text())["baseline"]["nme"]
    assert evaluated["nme"] < 0.7 * baseline
