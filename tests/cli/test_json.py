"""`--json` prints one JSON object, whatever the command."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid.combine import Fork, Sequential
from pellucid.command.out import plain
from pellucid.fuse.leaves import FusedDense
from pellucid.layers import Conv2d, Dense, Flatten
from pellucid.model import Model
from pellucid.shipped_files import pretrained_file
from tests.cli.conftest import Say


@pytest.mark.slow
def test_train_prints_the_result_and_the_run_folder(say: Say, tmp_path: Path):
    output = say("train", "digits", "train.epochs=2", "--json", "optimizer.lr=0.01").json
    assert output["recipe"] == "digits"
    assert output["n"] == 359
    assert output["epochs"] == 2
    assert 0.5 < output["accuracy"] <= 1
    assert (tmp_path / output["report"]).is_file()
    assert json.loads((tmp_path / output["run"] / "results.json").read_text())["sha256"] == output["sha256"]


@pytest.mark.usefixtures("no_report")
def test_a_finished_run_resumed_gives_the_same_result(say: Say, run_folder: Path):
    before = json.loads((run_folder / "results.json").read_text())
    said = say("train", "--resume", str(run_folder), "--json")
    assert said.json["sha256"] == before["sha256"]
    ended = (
        "its training ended after 3 epochs, and nothing more is trained; more epochs, such as train.epochs=6, extend it"
    )
    assert said.err == f"pellucid: {run_folder} is finished: {ended}\n"


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_a_run_with_a_progress_bar_is_resumed_without_one(say: Say, run_folder: Path):
    assert say("train", "digits", "train.epochs=2").code == 0
    assert say("train", "--resume", "runs/digits-1", "--json").json["epochs"] == 2


@pytest.mark.usefixtures("no_report")
def test_a_recipe_may_name_a_second_one_for_comparison_and_both_are_resumed(say: Say):
    done = say("train", "digits", "train.epochs=1", "recipe.then=xor", "--json").json
    assert (done["recipe"], done["then"]["recipe"]) == ("digits", "xor")
    assert say("train", "--resume", done["run"], "--json").json["then"]["sha256"] == done["then"]["sha256"]


@pytest.mark.slow
def test_demo_reaches_its_accuracy_on_bundled_data(say: Say, tmp_path: Path):
    output = say("demo", "--json").json
    assert output["accuracy"] >= 0.96
    assert (tmp_path / output["report"]).is_file()
    assert (tmp_path / output["page"]).is_file()


def test_evaluate_measures_the_data_the_model_was_trained_on(say: Say, run_folder: Path):
    output = say("evaluate", str(run_folder), "--json").json
    trained = json.loads((run_folder / "results.json").read_text())
    assert (output["n"], output["data"]) == (359, "digits")
    assert output["accuracy"] == pytest.approx(trained["accuracy"])
    assert sum(one["n"] for one in output["classes"]) == 359
    weighted = sum(one["n"] * one["accuracy"] for one in output["classes"]) / 359
    assert weighted == pytest.approx(output["accuracy"])


def test_evaluate_takes_a_weights_file_and_a_folder_of_pictures(
    say: Say, run_folder: Path, seven: Path, tmp_path: Path
):
    (tmp_path / "pictures/7").mkdir(parents=True)
    (tmp_path / "pictures/7/seven.png").write_bytes(seven.read_bytes())
    output = say("evaluate", str(run_folder / "weights/last.safetensors"), "--data", "pictures", "--json").json
    assert output["n"] == 1


def test_predict_gives_label_and_probabilities(say: Say, run_folder: Path, seven: Path):
    output = say("predict", str(run_folder), str(seven), "--json").json
    assert set(output["probabilities"]) == set("0123456789")
    assert sum(output["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert output["probability"] == output["probabilities"][output["label"]] == max(output["probabilities"].values())


def test_predict_writes_scores_without_per_cent(say: Say, seven: Path):
    model = Model(Sequential(Flatten(), Dense(3)), "hinge", classes=["a", "b", "c"], input_shape=(1, 8, 8))
    for path, weight in model.weights.items():
        weight.copy_(torch.tensor([0.25, 8.0, -2.5]) if path.endswith("bias") else torch.zeros(()))
    model.save("scores.safetensors")
    assert say("predict", "scores.safetensors", str(seven)).out == f"{seven}: b  (scores: b 8, a 0.25, c -2.5)\n"
    result = say("predict", "scores.safetensors", str(seven), "--json").json["predictions"][0]
    assert (result["score"], result["scores"]) == (8, {"a": 0.25, "b": 8, "c": -2.5})
    assert not {"probability", "probabilities"} & set(result)
    assert "scores, no probabilities" in say("gestures", "predict", "scores.safetensors", str(seven)).complaint


def test_predict_reports_pictures_unlike_the_training_data(say: Say, seven: Path, tmp_path: Path):
    noise = tmp_path / "noise.png"
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(noise)
    for words in (("predict",), ("gestures", "predict")):
        output = say(*words, "signs", str(noise), "--json").json["predictions"][0]
        assert output["unfamiliar"] is True
        assert output["distance"] > output["distance_threshold"] > 0
        assert "; unlike anything it was trained on (distance " in say(*words, "signs", str(noise)).out
    model = Model.load(pretrained_file("mnist-lenet"))
    model.familiarity = None
    model.save(tmp_path / "without.safetensors")
    output = say("predict", "without.safetensors", str(seven), "--json").json
    assert (output["unfamiliar"], output["distance"], output["distance_threshold"]) == (None, None, None)
    assert "unlike" not in say("predict", "without.safetensors", str(noise)).out


def test_training_ends_with_familiarity_fitted(run_folder: Path):
    model = Model.load(run_folder / "weights/best.safetensors")
    assert model.familiarity is not None
    assert model.familiarity.alarms <= 0.01


def test_predict_lists_several_pictures(say: Say, run_folder: Path, seven: Path):
    output = say("predict", str(run_folder), str(seven), str(seven), "--json").json
    assert [prediction["image"] for prediction in output["predictions"]] == [str(seven)] * 2
    assert output["skipped"] == []


def test_predict_skips_a_blank_picture_and_predicts_the_others(say: Say, run_folder: Path, seven: Path):
    Image.new("L", (40, 40), 255).save("blank.png")
    Path("empty.png").write_bytes(b"")
    said = say("predict", str(run_folder), "blank.png", str(seven), "empty.png", str(seven))
    assert said.code == 2
    assert [line.split(": ")[0] for line in said.out.splitlines()] == [str(seven)] * 2
    assert [line.split()[1] for line in said.err.splitlines()] == ["blank.png", "empty.png"]
    output = say("predict", str(run_folder), "blank.png", str(seven), "--json")
    assert (output.code, output.out.count("\n")) == (2, 1)
    assert [prediction["image"] for prediction in json.loads(output.out)["predictions"]] == [str(seven)]
    assert json.loads(output.out)["skipped"] == [{"image": "blank.png", "reason": output.err[len("pellucid: ") : -1]}]
    assert say("predict", str(run_folder), "blank.png", "--json").out == ""


@pytest.mark.parametrize("what", ["digits", "mnist-lenet", "run"])
def test_summary_counts_parameters(what: str, say: Say, run_folder: Path):
    output = say("summary", str(run_folder) if what == "run" else what, "--json").json
    expected = {"digits": 4810, "mnist-lenet": 61706, "run": 4810}  # 61,706: LeCun et al. 1998 with full connections
    assert output["parameters"] == expected[what]
    assert sum(layer["parameters"] for layer in output["layers"]) == expected[what]


@pytest.mark.parametrize("what", ["xor", "run"])
def test_verify_finds_every_gradient_right(what: str, say: Say, run_folder: Path):
    output = say("verify", str(run_folder) if what == "run" else what, "--json", "--batch", "3").json
    assert output["ok"]
    assert {row["form"] for row in output["rows"]} == {"written", "training", "predicting"}


def test_verify_checks_the_network_as_the_recipe_trains_it(say: Say, monkeypatch: pytest.MonkeyPatch):
    original = FusedDense.backward

    def late(self: FusedDense, params: Any, cache: Any, dy: torch.Tensor) -> Any:
        _, dparams = original(self, params, cache, dy)
        return dy @ params["weight"], dparams  # wrong where the weight has learned in the sweep

    monkeypatch.setattr(FusedDense, "backward", late)
    settings = "network.sizes=[64, 5, 10]", "--json", "--batch", "3"
    assert say("verify", "digits", "optimizer.name=adam", *settings).json["ok"]
    output = say("verify", "digits", "optimizer.name=sgd", *settings)
    assert output.code == 1
    assert not json.loads(output.out)["ok"]


def test_verify_refuses_outputs_without_a_loss(say: Say, tmp_path: Path):
    net = Sequential(flatten=Flatten(), heads=Fork(left=Dense(2), right=Dense(3)))
    Model(net, input_shape=(1, 4, 4)).save(tmp_path / "two.safetensors")
    assert "two.safetensors has several outputs, ((2,), (3,))" in say("verify", "two.safetensors").complaint
    assert say("summary", "two.safetensors", "--json").json["parameters"] == 17 * 5


def test_verify_draws_as_many_classes_as_the_model_has_and_a_target_for_each_place(say: Say, tmp_path: Path):
    for name, net in (("three", Sequential(flatten=Flatten(), out=Dense(3))), ("map", Conv2d(2, 3))):
        Model(net, input_shape=(1, 4, 4)).save(tmp_path / f"{name}.safetensors")
        assert say("verify", f"{name}.safetensors", "--json").json["ok"]


def test_data_list_and_recipes_list_every_name(say: Say, tmp_path: Path):
    output = say("data", "list", "--json").json
    assert output["root"] == str(tmp_path / "data")
    assert {one["name"]: one["present"] for one in output["data"]}["digits"]
    assert say("data", "get", "digits", "--json").json["files"]
    assert say("data", "check", "--json").json["ok"]
    assert any(recipe["name"] == "xor" for recipe in say("recipes", "--json").json["recipes"])
    assert say("recipes", "xor", "--json").json["recipe"]["train"]["epochs"] == 1000


def test_recipes_explain_every_key(say: Say):
    tables = {table["name"]: table for table in say("recipes", "--keys", "--json").json["tables"]}
    recipe = say("recipes", "digits", "--json").json["recipe"]
    text = say("recipes", "--keys").out
    for name, values in recipe.items():
        known = [key["name"] for part in (tables[name], *tables[name]["choices"]) for key in part["keys"]]
        assert set(values) <= set(known)
        assert f"[{name}]\n" in text
        assert all(f"  {key}  " in text for key in values)


def test_numbers_that_json_lacks_become_null():
    result = plain({"a": math.nan, "b": [math.inf, 1.5], "c": Path("x"), 3: (True, None)})
    assert result == {"a": None, "b": [None, 1.5], "c": "x", "3": [True, None]}
