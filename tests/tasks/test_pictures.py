"""Evaluation of classifiers on folders of class folders: the pictures that are used, refused files, metrics."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import f1_score, log_loss, precision_recall_fscore_support

from pellucid.base.errors import PellucidError
from pellucid.calibration.confidence import Confidence
from pellucid.cli.main import main
from pellucid.combine import Sequential
from pellucid.data import load_folder, load_splits
from pellucid.layers import Dense, Flatten
from pellucid.model import Model
from pellucid.recipe import model_data
from pellucid.recipe.job import train
from pellucid.recipe.recipe import load_recipe
from pellucid.tasks.classify.predictor import evaluate
from pellucid.tasks.pictures import held_out
from tests.tasks.gestures.colours import BLUE, GREEN, GREY, RED, SIDE, colour_model, picture

COLOURS = {"red": RED, "green": GREEN, "blue": BLUE}


def write_collection(root: Path, count: int = 2) -> Path:
    """Write CLASS/IMAGE, `count` images of each class with different shades and sizes; return the folder."""
    for name, colour in COLOURS.items():
        for k in range(count):
            shade = tuple(max(value - 10 * k, 0) for value in colour)
            picture(root / name / f"{k}.png", (shade[0], shade[1], shade[2]), (30 + k, 20))
    return root


def count_pictures(root: Path) -> int:
    return sum(1 for _ in root.rglob("*.png"))


@pytest.mark.parametrize("in_run_folder", [False, True])
def test_the_folder_that_a_weights_file_names_is_read_only_inside_its_run_folder(tmp_path, in_run_folder):
    run = tmp_path / "run"
    folder = (run if in_run_folder else tmp_path) / "pictures"
    for name in ("test/a/1.png", "test/b/2.png"):
        (folder / name).parent.mkdir(parents=True)
        Image.new("L", (8, 8), 200).save(folder / name)
    (run / "weights").mkdir(parents=True)
    (run / "manifest.json").write_text("{}")
    model = Model(
        Sequential(Flatten(), Dense(2)), input_shape=(1, 8, 8), classes=["a", "b"], preprocess={"data": str(folder)}
    )
    assert len(held_out(model, None)) == 2, "what was made in this process is the user's own"
    model.save(run / "weights" / "best.safetensors")
    loaded = Model.load(run / "weights" / "best.safetensors")
    if in_run_folder:
        assert len(held_out(loaded, None)) == 2
        model.save(tmp_path / "alone.safetensors")
        loaded = Model.load(tmp_path / "alone.safetensors")
    with pytest.raises(PellucidError, match=r"outside its run folder, which is not opened"):
        held_out(loaded, None)
    assert len(held_out(loaded, str(folder))) == 2


@pytest.mark.parametrize("stated", ["../private", "ABSOLUTE", "."])
def test_a_settings_file_in_a_run_folder_does_not_lead_out_of_it(tmp_path: Path, stated: str) -> None:
    run, private = tmp_path / "run", tmp_path / "private"
    run.mkdir()
    private.mkdir()
    settings = run / "data.yaml"
    settings.write_text(f"path: {stated.replace('ABSOLUTE', str(private))}\nnames: [a]\n")
    if stated == ".":
        model_data.check_data_in_run_folder(str(settings), run / "recipe.toml")
        return
    with pytest.raises(PellucidError, match="outside its run folder, which is not opened"):
        model_data.check_data_in_run_folder(str(settings), run / "recipe.toml")


def test_two_settings_files_of_one_folder_are_different_data(tmp_path: Path) -> None:
    one, other = tmp_path / "fold1.yaml", tmp_path / "fold2.yaml"
    one.write_text("val: 1/images\n")
    other.write_text("val: 2/images\n")
    model = Model(Sequential(Flatten(), Dense(2)), input_shape=(1, 8, 8), preprocess={"data": str(one)})
    assert model_data.is_folder_of_training(model, one)
    assert model_data.is_folder_of_training(model, tmp_path)
    assert not model_data.is_folder_of_training(model, other)


@pytest.mark.usefixtures("no_report")
def test_data_outside_a_run_folder_are_read_if_they_are_those_of_its_training(tmp_path, capsys):
    folder = write_collection(tmp_path / "pictures", 6)
    settings = {"data.size": 8, "network.model": "mlp", "network.sizes": [192, 4, 3], "train.epochs": 1}
    run = train(load_recipe("digits", {**settings, "data.name": str(folder)}), out=tmp_path, progress=False).path
    capsys.readouterr()
    assert main(["evaluate", str(run), "--json"]) == 0
    without_path = json.loads(capsys.readouterr().out)
    assert main(["evaluate", str(run), "--data", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == without_path
    assert main(["doctor", str(run), "--json"]) == 0
    picture(folder / "red" / "0.png", (1, 2, 3), (9, 9))
    model_data._has_checksums_of_run.cache_clear()  # as in another process
    for command in ("evaluate", "doctor"):
        assert main([command, str(run)]) == 2
        assert f"{folder} is not what {run} was trained on: the checksums differ" in capsys.readouterr().err
    folder.rename(tmp_path / "moved")
    for command in ("evaluate", "doctor"):
        assert main([command, str(run)]) == 2
        assert f"{run} was trained on {folder}, which is gone; give its new place with --data" in (
            capsys.readouterr().err
        )


@pytest.mark.parametrize("weights_path", ["model.safetensors", "models/model.safetensors", "weights/model.safetensors"])
def test_a_recipe_next_to_a_weights_file_does_not_make_a_run_folder(tmp_path, weights_path):
    write_collection(tmp_path / "pictures")
    (tmp_path / "recipe.toml").write_text("")
    model, path = colour_model(), tmp_path / weights_path
    model.preprocess["data"] = str(tmp_path / "pictures")
    path.parent.mkdir(exist_ok=True)
    model.save(path)
    with pytest.raises(PellucidError, match="outside its run folder, which is not opened"):
        held_out(Model.load(path), None)


def test_all_pictures_of_a_folder_without_splits_are_used(tmp_path: Path):
    test_data = held_out(colour_model(), str(write_collection(tmp_path / "mine", 3)))
    assert (len(test_data), test_data.classes, test_data.skipped) == (9, ("red", "green", "blue"), ())
    assert test_data.y.bincount().tolist() == [3, 3, 3]


def test_pictures_are_preprocessed_like_the_training_data(tmp_path: Path):
    root = write_collection(tmp_path / "mine", 3)
    result, training_data = held_out(colour_model(), str(root)), load_folder(root, size=(SIDE, SIDE))
    order = torch.tensor([("red", "green", "blue").index(name) for name in training_data.classes])
    assert torch.equal(result.x, training_data.x)
    assert torch.equal(result.y, order[training_data.y])


@pytest.mark.parametrize(
    ("parts", "expected_part"),
    [
        (("train", "val"), "val"),
        (("train", "test", "val"), "test"),
        (("train", "validation"), "validation"),
        (("val",), "val"),
        (("test", "valid"), "test"),
        (("Train", "Testing"), "Testing"),
        (("training", "VAL", "dev"), "VAL"),
        (("train", "test1", "Validation"), "test1"),
    ],
)
def test_the_held_out_part_of_a_folder_with_splits_is_used(
    tmp_path: Path, capsys, parts: tuple[str, ...], expected_part: str
):
    for k, part in enumerate(parts):
        write_collection(tmp_path / "mine" / part, k + 1)
    test_data = held_out(colour_model(), str(tmp_path / "mine"))
    assert len(test_data) == count_pictures(tmp_path / "mine" / expected_part)
    has_unused_part = parts[0] in ("train", "training") and len(parts) == 3
    assert ("not used: " in capsys.readouterr().err) == has_unused_part


def test_a_fifth_of_a_folder_with_only_a_training_part_is_used(tmp_path: Path):
    write_collection(tmp_path / "mine/train", 10)
    test_data = held_out(colour_model(), str(tmp_path / "mine"))
    expected = load_splits(tmp_path / "mine", size=(SIDE, SIDE)).test
    assert len(test_data) == 6
    assert torch.equal(test_data.x, expected.x)


def test_only_held_out_pictures_of_the_training_folder_of_a_model_are_used(tmp_path: Path):
    model = colour_model()
    model.preprocess["data"] = str(write_collection(tmp_path / "mine", 10))
    assert len(held_out(model, None)) == 6
    assert len(held_out(model, model.preprocess["data"])) == 6
    assert torch.equal(held_out(model, None).x, load_splits(tmp_path / "mine", size=(SIDE, SIDE)).test.x)


@pytest.fixture
def model_and_folder(tmp_path: Path) -> tuple[Model, Path]:
    """Return a model that lists pictures 1 and 4 of each class as held out, and its folder of thirty pictures."""
    root = write_collection(tmp_path / "mine", 10)
    held_out_bytes = [(root / name / f"{k}.png").read_bytes() for name in COLOURS for k in (1, 4)]
    model = colour_model()
    model.preprocess |= {
        "data": str(root),
        "held_out": [hashlib.sha256(data).hexdigest()[:16] for data in held_out_bytes],
    }
    return model, root


def test_files_listed_as_held_out_by_a_model_are_used_after_others_were_added(model_and_folder, capsys):
    model, root = model_and_folder
    before = held_out(model, None)
    assert before.y.tolist() == [2, 2, 1, 1, 0, 0]
    for k, name in enumerate(COLOURS):
        picture(root / name / f"0-{k}.png", GREY)  # a new file, sorted between the others
    (root / "blue/0.png").rename(root / "blue/z.png")
    (root / "green/4.png").rename(root / "green/00.png")
    picture(root / "yellow/0.png", (255, 255, 0))
    (root / "red/c.png").write_text("no picture")
    (root / "red/gone.png").symlink_to(root / "nowhere")
    test_data = held_out(model, str(root))
    assert sorted(map(bytes, test_data.x.flatten(1).numpy())) == sorted(map(bytes, before.x.flatten(1).numpy()))
    assert test_data.y.bincount().tolist() == [2, 2, 2]
    assert capsys.readouterr().err == ""


def test_held_out_files_that_are_gone_or_changed_are_reported(model_and_folder, capsys):
    model, root = model_and_folder
    (root / "red/1.png").unlink()
    picture(root / "blue/4.png", RED)
    test_data = held_out(model, None)
    assert test_data.y.bincount().tolist() == [1, 2, 1]
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert f"2 of the 6 pictures that training held out are missing from {root}, or changed; the others" in message


def test_evaluation_refuses_training_pictures_in_place_of_held_out_ones(model_and_folder):
    model, root = model_and_folder
    for name in COLOURS:
        for k in (1, 4):
            (root / name / f"{k}.png").unlink()
    with pytest.raises(PellucidError, match=r"contains none of the 6 pictures that training held out"):
        held_out(model, None)
    model.preprocess["held_out"] = "groups"
    with pytest.raises(PellucidError, match=r"does not list which files .*\(its held_out is groups\)"):
        held_out(model, None)
    assert len(held_out(model, str(write_collection(root.parent / "others")))) == 6, "of another folder, all"


def test_a_zip_is_read_in_place(tmp_path: Path):
    root = write_collection(tmp_path / "mine")
    file = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "mine")
    assert torch.equal(held_out(colour_model(), file).x, held_out(colour_model(), str(root)).x)


def test_pictures_in_subfolders_of_a_class_belong_to_it(tmp_path: Path):
    picture(tmp_path / "mine/red/monday/1.png", RED)
    picture(tmp_path / "mine/blue/tuesday/morning/1.png", BLUE)
    assert held_out(colour_model(), str(tmp_path / "mine")).y.tolist() == [2, 0]


def test_files_that_cannot_be_read_are_refused(tmp_path: Path):
    root = write_collection(tmp_path / "mine")
    for name in ("red/0.png", "blue/1.png"):
        (root / name).write_bytes((root / name).read_bytes()[:40])
    (root / "green/notes.txt").write_text("taken on Monday: no image")
    (root / "README.md").write_text("beside the classes: no image")
    with pytest.raises(PellucidError, match=r"blue/1\.png is damaged .* \(and 1 more: 0\.png\); `pellucid data lint`"):
        held_out(colour_model(), str(root))


def test_a_folder_without_readable_pictures_is_reported(tmp_path: Path):
    (tmp_path / "mine/red").mkdir(parents=True)
    with pytest.raises(PellucidError, match="lay it out as CLASS/IMAGE"):
        held_out(colour_model(), str(tmp_path / "mine"))
    (tmp_path / "mine/red/1.png").write_text("no picture")
    with pytest.raises(PellucidError, match=r"1\.png is not an image"):
        held_out(colour_model(), str(tmp_path / "mine"))


@pytest.mark.parametrize(("name", "hint"), [("reed", "did you mean 'red'"), ("7", "it has red, green, blue")])
def test_a_class_that_the_model_lacks_is_reported(tmp_path: Path, name: str, hint: str):
    picture(tmp_path / f"mine/{name}/1.png", RED)
    with pytest.raises(PellucidError, match=f"is of class '{name}', which the model lacks; {hint}"):
        held_out(colour_model(), str(tmp_path / "mine"))


def test_all_classes_that_the_model_lacks_are_reported_in_one_error(tmp_path: Path):
    for name in ("red", "one", "two", "three"):
        picture(tmp_path / f"mine/{name}/1.png", RED)
    with pytest.raises(
        PellucidError, match=r"class 'one', which the model lacks \(it also lacks 'three', 'two'\).*rename"
    ):
        held_out(colour_model(), str(tmp_path / "mine"))


def test_metrics_of_an_empty_set_are_missing(tmp_path: Path):
    picture(tmp_path / "mine/red/1.png", RED)
    red, green, blue = evaluate(colour_model(), str(tmp_path / "mine"))["classes"]
    assert red == {"class": "red", "n": 1, "accuracy": 1.0, "recall": 1.0, "precision": 1.0, "f1": 1.0}
    for row in (green, blue):
        assert (row["n"], row["accuracy"], row["recall"], row["precision"], row["f1"]) == (0, None, None, None, None)


def write_mixed_pictures(root: Path) -> tuple[list[str], list[str]]:
    """Write pictures to the class folder of their colour and to others; return the folders and the colours."""
    labels = ["red"] * 4 + ["green"] * 3 + ["blue"] * 2
    colours = ["red", "red", "green", "blue", "green", "red", "green", "blue", "blue"]
    for k, (name, colour) in enumerate(zip(labels, colours, strict=True)):
        picture(root / name / f"{k}.png", COLOURS[colour])
    return labels, colours


def test_metrics_equal_scikit_learns(tmp_path: Path):
    labels, predicted = write_mixed_pictures(tmp_path / "mine")
    evaluation = evaluate(colour_model(), str(tmp_path / "mine"))
    names = ["red", "green", "blue"]
    precision, recall, f1, count = precision_recall_fscore_support(labels, predicted, labels=names)
    assert [row["class"] for row in evaluation["classes"]] == names
    for key, expected in (("precision", precision), ("recall", recall), ("accuracy", recall), ("f1", f1), ("n", count)):
        np.testing.assert_allclose([row[key] for row in evaluation["classes"]], expected, rtol=1e-12)
    assert evaluation["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert evaluation["accuracy"] == pytest.approx(6 / 9)
    model = colour_model()
    images = held_out(model, str(tmp_path / "mine"))
    assert evaluation["loss"] == pytest.approx(log_loss(images.y, model.predict(images).numpy()), rel=1e-5)


def test_macro_f1_is_the_mean_over_classes_that_occur(tmp_path: Path):
    picture(tmp_path / "mine/red/1.png", RED)
    picture(tmp_path / "mine/green/1.png", GREEN)
    assert evaluate(colour_model(), str(tmp_path / "mine"))["macro_f1"] == 1  # not 2/3: blue is absent


def test_calibration_error_and_confidence_by_hand(tmp_path: Path):
    write_mixed_pictures(tmp_path / "mine")
    confidence = float(np.exp(6) / (np.exp(6) + 2))  # for every picture
    uncalibrated = evaluate(colour_model(None), str(tmp_path / "mine"))
    assert uncalibrated["confidence"] is None
    assert uncalibrated["ece"] == pytest.approx(confidence - 6 / 9, rel=1e-4)
    calibrated = evaluate(colour_model(Confidence(3.0, 0.8)), str(tmp_path / "mine"))
    calibrated_confidence = float(np.exp(2) / (np.exp(2) + 2))
    assert calibrated["ece"] == pytest.approx(calibrated_confidence - 6 / 9, rel=1e-4)
    expected = {"temperature": 3.0, "threshold": 0.8, "coverage": 0, "accuracy": None, "fitted_here": False}
    assert calibrated["confidence"] == expected
    results = evaluate(colour_model(Confidence(3.0, 0.7)), str(tmp_path / "mine"))["confidence"]
    assert (results["coverage"], results["accuracy"]) == (1, pytest.approx(6 / 9))


def test_scores_that_are_no_probabilities_have_no_calibration_error(tmp_path: Path):
    model = Model(colour_model().net, "hinge", input_shape=(3, SIDE, SIDE), classes=["red", "green", "blue"])
    model.params = colour_model().params
    assert evaluate(model, str(write_collection(tmp_path / "mine")))["ece"] is None


def test_data_of_another_shape_are_reported(tmp_path: Path):
    with pytest.raises(PellucidError, match="digits has images of 1 x 8 x 8, but the model takes 3 x"):
        held_out(colour_model(None), "digits")
