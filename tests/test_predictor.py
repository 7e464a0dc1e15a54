"""Model.predict of image files: the contents of predictions for each task, as objects and as rows of a table."""

import csv
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid import Dense, Flatten, Model, Predicted, PredictionList, Sequential, shipped_files
from pellucid.base.errors import PellucidError
from pellucid.data.samples.cells import blood_smear
from pellucid.data.samples.portraits import face
from pellucid.data.samples.scenes import street
from tests.cli.conftest import Cli, cli  # noqa: F401 - a fixture


def read_csv(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text))


@pytest.fixture(scope="module")
def classifier() -> Model:
    """A classifier with the classes dark and bright."""
    torch.manual_seed(0)
    x = torch.cat([torch.rand(20, 3, 8, 8) * 0.4, 0.6 + torch.rand(20, 3, 8, 8) * 0.4])
    model = Model(Sequential(Flatten(), Dense(2)), classes=["dark", "bright"], optimizer="adam")
    model.fit(x, torch.tensor([0] * 20 + [1] * 20), epochs=60, verbose=False)
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name, value in (("a.png", 20), ("b.jpg", 230)):
        Image.fromarray(np.full((10, 12, 3), value, np.uint8)).save(pictures / name)
    return pictures


def test_a_shipped_name_loads_the_shipped_model():
    by_name, by_file = Model.load("mnist-mlp-100"), Model.load(shipped_files.pretrained_file("mnist-mlp-100"))
    x = torch.rand(2, 1, 28, 28)
    assert torch.equal(by_name.predict(x), by_file.predict(x))


def test_an_unknown_model_name_is_refused_with_the_nearest_name():
    with pytest.raises(PellucidError, match=r"no model 'mnist-lennet'; did you mean 'mnist-lenet'\?") as caught:
        Model.load("mnist-lennet")
    assert "\n" not in str(caught.value)


def test_a_file_a_list_and_a_folder_give_the_same_predictions(classifier: Model, folder: Path):
    predictions = classifier.predict(folder)
    assert isinstance(predictions, PredictionList)
    assert [one.label for one in predictions] == ["dark", "bright"]
    assert [row["image"] for row in predictions.rows] == ["a.png", "b.jpg"]
    for other in (classifier.predict([str(folder / "a.png"), folder / "b.jpg"]), classifier.predict(str(folder))):
        assert [one.confidence for one in other] == [one.confidence for one in predictions]
    (alone,) = classifier.predict(str(folder / "b.jpg"))
    assert (alone.label, alone.confidence, alone.boxes) == ("bright", predictions[1].confidence, None)
    assert str(predictions).splitlines() == [one.line for one in predictions]


def test_the_prediction_of_a_file_is_that_of_its_array(classifier: Model, folder: Path):
    image = torch.full((1, 3, 8, 8), 230 / 255)
    (result,) = classifier.predict(folder / "b.jpg")
    assert result.confidence == pytest.approx(float(classifier.predict(image).max()), abs=1e-4)


def test_a_video_gives_a_prediction_for_each_frame(classifier: Model, tmp_path: Path):
    frames = [Image.fromarray(np.full((10, 10, 3), value, np.uint8)) for value in (20, 230, 20)]
    frames[0].save(tmp_path / "blink.gif", save_all=True, append_images=frames[1:], duration=100)
    assert [one.label for one in classifier.predict(tmp_path / "blink.gif")] == ["dark", "bright", "dark"]


def test_files_that_cannot_be_read_are_skipped(classifier: Model, folder: Path, capsys: pytest.CaptureFixture[str]):
    (folder / "c.png").write_bytes(b"no picture")
    predictions = classifier.predict(folder)
    assert [row["image"] for row in predictions.rows] == ["a.png", "b.jpg"]
    assert list(predictions.skipped) == ["c.png"]
    assert predictions.skipped["c.png"] in capsys.readouterr().err
    with pytest.raises(PellucidError, match=r"c\.png"):
        classifier.predict(folder / "c.png")
    with pytest.raises(PellucidError, match=r"none\.png is missing"):
        classifier.predict("none.png")
    with pytest.raises(PellucidError, match="batch_size applies to arrays"):
        classifier.predict(folder, batch_size=2)


def test_pictures_in_memory_are_predicted_as_their_files(classifier: Model, folder: Path):
    files = sorted(folder.iterdir())
    expected = [one.confidence for one in classifier.predict(files)]
    opened = [Image.open(file) for file in files]
    assert [one.confidence for one in classifier.predict(opened)] == expected
    arrays = [np.array(one) for one in opened]
    assert [one.confidence for one in classifier.predict(arrays)] == expected
    (alone,) = classifier.predict(arrays[0])
    assert (alone.confidence, alone.table()[0]["image"]) == (expected[0], "picture 0")
    grey = opened[0].convert("L")
    assert classifier.predict(grey)[0].label == "dark"
    with pytest.raises(PellucidError):
        classifier.predict([])


def _sixteen_bit() -> Image.Image:
    return Image.fromarray(np.full((10, 12), 40 << 8, np.uint16))


def _transparent(mode: str) -> Image.Image:
    alpha = np.linspace(0, 255, 120).astype(np.uint8).reshape(10, 12)
    image = Image.fromarray(np.full((10, 12, 3), 90, np.uint8))
    image.putalpha(Image.fromarray(alpha))
    return image.convert(mode)


MODES = {
    "1": lambda: Image.fromarray(np.full((10, 12), 255, np.uint8)).convert("1"),
    "L": lambda: Image.fromarray(np.full((10, 12), 70, np.uint8)),
    "P": lambda: Image.fromarray(np.full((10, 12, 3), 70, np.uint8)).convert("P"),
    "I;16": _sixteen_bit,
    "LA": lambda: _transparent("LA"),
    "RGBA": lambda: _transparent("RGBA"),
    "CMYK": lambda: Image.fromarray(np.full((10, 12, 3), 70, np.uint8)).convert("CMYK"),
}


@pytest.mark.parametrize("mode", MODES)
def test_a_picture_of_every_mode_is_predicted_as_its_file(mode: str, classifier: Model, tmp_path: Path):
    file = tmp_path / ("picture.jpg" if mode == "CMYK" else "picture.png")
    MODES[mode]().save(file)
    picture = Image.open(file)
    (in_memory,) = classifier.predict(picture)
    (expected,) = classifier.predict(file)
    assert picture.mode == mode
    assert in_memory.confidence == expected.confidence


@pytest.mark.parametrize("view", [np.s_[::-1], np.s_[:, ::-1], np.s_[..., ::-1], np.s_[::-1, ::-1, ::-1]])
def test_a_reversed_frame_is_predicted_as_its_copy(view, classifier: Model):
    frame = np.random.default_rng(0).integers(0, 256, (10, 12, 3)).astype(np.uint8)[view]
    (expected,) = classifier.predict(frame.copy())
    assert [one.confidence for one in classifier.predict(frame)] == [expected.confidence]
    assert [one.confidence for one in classifier.predict([frame, frame])] == [expected.confidence] * 2


FRAME = np.zeros((10, 12, 3), np.uint8)
NO_PICTURES = {
    "nothing": (None, "it is None"),
    "a list of nothing": ([None], "it contains None"),
    "an empty list": ([], "x is empty; give at least one input"),
    "an empty tuple": ((), "x is empty; give at least one input"),
    "an empty array": (np.zeros(0, np.float32), "x is empty; give at least one input"),
    "an empty path": ("", "the path of the picture is empty"),
    "a frame without rows": (FRAME[:0], r"picture 0 has no pixels: its shape is \(0, 12, 3\)"),
    "a picture without pixels": (Image.new("RGB", (0, 5)), r"picture 0 has no pixels: its shape is \(5, 0, 3\)"),
    "a grey frame": (FRAME[..., 0], r"x has the shape \(10, 12\), but the network takes batches \(N, 3, "),
    "a frame with one channel": (
        FRAME[..., :1],
        r"x has the shape \(10, 12, 1\), .*pictures, arrays \(H, W, 3\) of uint8",
    ),
    "a frame with two channels": (FRAME[..., :2], r"x has the shape \(10, 12, 2\)"),
    "a frame with alpha": (np.zeros((10, 12, 4), np.uint8), r"x has the shape \(10, 12, 4\)"),
    "a list of frames with alpha": ([np.zeros((10, 12, 4), np.uint8)], "give the channels first, 3 of them"),
    "a frame of floats": (FRAME.astype(np.float32), r"x has the shape \(10, 12, 3\)"),
    "a table": (np.zeros((4, 5), np.float32), r"x has the shape \(4, 5\)"),
    "a number": (5, "x is one number"),
    "text": ([["a"]], "it contains 'a'"),
    "bytes": (b"abc", "it is b'abc'"),
    "rows of different lengths": ([[1.0], [1.0, 2.0]], "its entries have different shapes"),
    "a frame and nothing": ([FRAME, None], "a list of pictures also contains None"),
    "a frame and a path": ([FRAME, "a.png"], "a list of pictures also contains 'a.png'"),
    "a frame and one with alpha": (
        [FRAME, np.zeros((10, 12, 4), np.uint8)],
        r"contains an array \(10, 12, 4\) of uint8",
    ),
    "a picture and text": ([Image.new("L", (3, 3)), "a"], "a list of pictures also contains 'a'"),
    "a picture of floats": (Image.new("F", (10, 12), 3.5), "picture 0 .*has floats from 3.5 to 3.5"),
}


@pytest.mark.parametrize("name", ["classifier", "bccd", "camvid", "colorize", "faces"])
def test_what_is_no_picture_is_refused_in_one_line(name: str, classifier: Model):
    model = classifier if name == "classifier" else Model.load(name)
    for x, message in NO_PICTURES.values():
        with pytest.raises(PellucidError, match=message) as caught:
            model.predict(x)
        assert "\n" not in str(caught.value)


def test_what_is_no_batch_is_refused_by_a_predictor_in_one_line(classifier: Model):
    predictor = classifier.predictor()
    others = [FRAME, np.int64([[1, 2]]), torch.zeros(2, 3, 8, 8, dtype=torch.int64)]
    for x in (*(x for x, _ in NO_PICTURES.values()), *others):
        with pytest.raises(PellucidError) as caught:
            predictor(x)
        assert "\n" not in str(caught.value)
    assert predictor(np.zeros((0, 3, 8, 8), np.float32)).shape == (0, 2)


def test_rows_become_a_table(classifier: Model, folder: Path, monkeypatch: pytest.MonkeyPatch):
    predictions = classifier.predict(folder)
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=lambda rows: ("frame", rows)))
    assert predictions.to_dataframe() == ("frame", predictions.rows)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(PellucidError, match="needs pandas; pip install pandas"):
        predictions.to_dataframe()
    predictions.to_csv(folder / "out.csv")
    rows = read_csv(folder / "out.csv")
    assert [row["class"] for row in rows] == ["dark", "bright"]
    assert [float(row["confidence"]) for row in rows] == [one.confidence for one in predictions]


def test_a_classifier_writes_tables_only(classifier: Model, folder: Path, cli: Cli):  # noqa: F811
    classifier.save(folder / "model.safetensors")
    for out in ("folder", "table.xlsx", "a.png"):
        result = cli("predict", str(folder / "model.safetensors"), str(folder / "a.png"), "--out", out)
        assert "only a table; give --out FILE.csv" in result.error_line


def test_a_prediction_of_another_task_has_a_row_of_its_numbers_and_texts():
    values = {"image": "a.png", "degrees": 3.0, "files": {"mask": "x"}, "box": [1, 2]}
    assert Predicted(values, "a.png: 3").table() == ({"image": "a.png", "degrees": 3.0},)


@pytest.mark.slow
def test_a_detector_returns_boxes_and_a_row_for_each_object(tmp_path: Path, cli: Cli):  # noqa: F811
    blood_smear(0)[0].save(tmp_path / "cells.png")
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "empty.png")
    cells, empty = result = Model.load("bccd").predict(tmp_path)
    assert cells.boxes is not None
    assert cells.boxes.shape == (len(cells.labels or ()), 4)
    assert set(cells.labels or ()) == {"RBC", "WBC", "Platelets"}
    assert len(result.rows) == len(cells.boxes) + 1
    columns = ("image", "number", "class", "confidence", "x0", "y0", "x1", "y1")  # as docs/how-to/predict.md names them
    nothing = {**dict.fromkeys(columns), "image": "empty.png", "number": 0}
    assert (empty.labels, result.rows[-1]) == ((), nothing)
    assert [result.rows[0][name] for name in ("x0", "y0", "x1", "y1")] == cells.boxes[0].tolist()
    completed = cli("predict", "bccd", str(tmp_path), "--out", str(tmp_path / "found.csv"))
    assert completed.out.endswith(f"wrote {tmp_path / 'found.csv'}\n")
    rows = read_csv(tmp_path / "found.csv")
    assert [row["class"] for row in rows] == [*(cells.labels or ()), ""]
    assert not list(tmp_path.glob("*detections*"))


def test_other_tasks_return_masks_points_and_colours(tmp_path: Path):
    street(0, 240, 180)[0].save(tmp_path / "street.png")
    face(0, 112)[0].save(tmp_path / "face.png")
    predictions = Model.load("camvid").predict(tmp_path / "street.png")
    assert predictions[0].mask is not None
    assert predictions[0].mask.shape == (180, 240)
    assert predictions.rows[0]["area_road"] == pytest.approx(float((predictions[0].mask == 3).float().mean()))
    assert (predictions[0].labels or ())[3] == "road"
    (points,) = Model.load("faces").predict(tmp_path / "face.png")
    assert points.points is not None
    assert points.points.shape == (68, 3)
    assert points.table()[0]["p8_x"] == float(points.points[8, 0])
    (colours,) = Model.load("colorize").predict(tmp_path / "face.png")
    assert colours.image is not None
    assert (colours.image.shape, colours.image.dtype) == ((3, 112, 112), torch.uint8)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["face.png", "street.png"]


def test_the_command_writes_a_table_of_classes(
    classifier: Model,
    folder: Path,
    tmp_path: Path,
    cli: Cli,  # noqa: F811
):
    classifier.save(tmp_path / "model.safetensors")
    table = tmp_path / "results.csv"
    output = cli("predict", str(tmp_path / "model.safetensors"), str(folder), "--out", str(table), "--json").json
    assert output["table"] == str(table)
    assert [row["class"] for row in read_csv(table)] == [row["label"] for row in output["predictions"]]
    away = str(tmp_path / "none" / "results.csv")
    refused = cli("predict", str(tmp_path / "model.safetensors"), str(folder), "--out", away)
    assert "is in a folder that does not exist" in refused.error_line


def test_a_table_marks_unsure_predictions(folder: Path):
    rows = Model.load("signs").predict(folder).rows
    assert {(row["unsure"], row["unfamiliar"]) for row in rows} <= {
        (a, b) for a in (True, False) for b in (True, False)
    }
    assert list(rows[0]) == ["image", "class", "confidence", "unsure", "unfamiliar", "distance"]


@pytest.mark.parametrize(("loss", "column"), [("binary_cross_entropy", "confidence"), ("hinge", "score")])
def test_a_table_of_a_model_with_one_output_or_with_scores(loss: str, column: str, folder: Path):
    outputs = 1 if loss == "binary_cross_entropy" else 2
    model = Model(Sequential(Flatten(), Dense(outputs)), loss=loss, classes=["dark", "bright"], input_shape=(3, 8, 8))
    rows = model.predict(folder).rows
    assert [list(row) for row in rows] == [["image", "class", column]] * 2
