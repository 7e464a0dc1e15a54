"""Every command prints one JSON object with `--json`."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid.combine import Fork, Sequential
from pellucid.command.out import to_json_types
from pellucid.fuse.single_layers import FusedDense
from pellucid.layers import Conv2d, Dense, Flatten
from pellucid.model import Model
from pellucid.shipped_files import pretrained_file
from tests.cli.conftest import Cli


@pytest.mark.slow
def test_train_prints_the_result_and_the_run_folder(cli: Cli, tmp_path: Path):
    output = cli("train", "digits", "train.epochs=2", "--json", "optimizer.lr=0.01").json
    assert output["recipe"] == "digits"
    assert output["n"] == 359
    assert output["epochs"] == 2
    assert 0.5 < output["accuracy"] <= 1
    assert (tmp_path / output["report"]).is_file()
    assert json.loads((tmp_path / output["run"] / "results.json").read_text())["sha256"] == output["sha256"]


@pytest.mark.usefixtures("no_report")
def test_resuming_a_finished_run_prints_the_same_result(cli: Cli, run_folder: Path):
    saved_results = json.loads((run_folder / "results.json").read_text())
    result = cli("train", "--resume", str(run_folder), "--json")
    assert result.json["sha256"] == saved_results["sha256"]
    reason = (
        "its training ended after 3 epochs, and nothing more is trained; more epochs, such as train.epochs=6, extend it"
    )
    assert result.err == f"pellucid: {run_folder} is finished: {reason}\n"


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_a_run_with_a_progress_bar_is_resumed_without_one(cli: Cli, run_folder: Path):
    assert cli("train", "digits", "train.epochs=2").code == 0
    assert cli("train", "--resume", "runs/digits-1", "--json").json["epochs"] == 2


@pytest.mark.usefixtures("no_report")
def test_a_recipe_may_name_a_second_one_for_comparison_and_both_are_resumed(cli: Cli):
    output = cli("train", "digits", "train.epochs=1", "recipe.then=xor", "--json").json
    assert (output["recipe"], output["then"]["recipe"]) == ("digits", "xor")
    assert cli("train", "--resume", output["run"], "--json").json["then"]["sha256"] == output["then"]["sha256"]


@pytest.mark.heavy
@pytest.mark.slow
def test_demo_reaches_its_accuracy_on_bundled_data(cli: Cli, tmp_path: Path):
    output = cli("demo", "--json").json
    assert output["accuracy"] >= 0.96
    assert (tmp_path / output["report"]).is_file()
    assert (tmp_path / output["page"]).is_file()


def test_evaluate_measures_the_data_the_model_was_trained_on(cli: Cli, run_folder: Path):
    output = cli("evaluate", str(run_folder), "--json").json
    trained = json.loads((run_folder / "results.json").read_text())
    assert (output["n"], output["data"], output["engine"]) == (359, "digits", "pellucid")
    assert output["accuracy"] == pytest.approx(trained["accuracy"])
    assert sum(entry["n"] for entry in output["classes"]) == 359
    weighted = sum(entry["n"] * entry["accuracy"] for entry in output["classes"]) / 359
    assert weighted == pytest.approx(output["accuracy"])


def test_evaluate_accepts_a_weights_file_and_a_folder_of_pictures(
    cli: Cli, run_folder: Path, seven: Path, tmp_path: Path
):
    (tmp_path / "pictures/7").mkdir(parents=True)
    (tmp_path / "pictures/7/seven.png").write_bytes(seven.read_bytes())
    output = cli("evaluate", str(run_folder / "weights/last.safetensors"), "--data", "pictures", "--json").json
    assert output["n"] == 1


def test_predict_prints_label_and_probabilities(cli: Cli, run_folder: Path, seven: Path):
    output = cli("predict", str(run_folder), str(seven), "--json").json
    assert set(output["probabilities"]) == set("0123456789")
    assert sum(output["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert output["probability"] == output["probabilities"][output["label"]] == max(output["probabilities"].values())


def test_predict_writes_scores_without_per_cent(cli: Cli, seven: Path):
    model = Model(Sequential(Flatten(), Dense(3)), "hinge", classes=["a", "b", "c"], input_shape=(1, 8, 8))
    for path, weight in model.weights.items():
        weight.copy_(torch.tensor([0.25, 8.0, -2.5]) if path.endswith("bias") else torch.zeros(()))
    model.save("scores.safetensors")
    assert cli("predict", "scores.safetensors", str(seven)).out == f"{seven}: b  (scores: b 8, a 0.25, c -2.5)\n"
    result = cli("predict", "scores.safetensors", str(seven), "--json").json["predictions"][0]
    assert (result["score"], result["scores"]) == (8, {"a": 0.25, "b": 8, "c": -2.5})
    assert not {"probability", "probabilities"} & set(result)
    assert "scores, no probabilities" in cli("gestures", "predict", "scores.safetensors", str(seven)).error_line


def test_predict_reports_pictures_unlike_the_training_data(cli: Cli, seven: Path, tmp_path: Path):
    noise = tmp_path / "noise.png"
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(noise)
    for words in (("predict",), ("gestures", "predict")):
        output = cli(*words, "signs", str(noise), "--json").json["predictions"][0]
        assert output["unfamiliar"] is True
        assert output["distance"] > output["distance_threshold"] > 0
        assert "; unlike anything it was trained on (distance " in cli(*words, "signs", str(noise)).out
    model = Model.load(pretrained_file("mnist-lenet"))
    model.familiarity = None
    model.save(tmp_path / "without.safetensors")
    output = cli("predict", "without.safetensors", str(seven), "--json").json
    assert (output["unfamiliar"], output["distance"], output["distance_threshold"]) == (None, None, None)
    assert "unlike" not in cli("predict", "without.safetensors", str(noise)).out


def test_training_ends_with_familiarity_fitted(run_folder: Path):
    model = Model.load(run_folder / "weights/best.safetensors")
    assert model.familiarity is not None
    assert model.familiarity.alarms <= 0.01


def test_predict_lists_several_pictures(cli: Cli, run_folder: Path, seven: Path):
    output = cli("predict", str(run_folder), str(seven), str(seven), "--json").json
    assert [prediction["image"] for prediction in output["predictions"]] == [str(seven)] * 2
    assert (output["skipped"], output["engine"]) == ([], "pellucid")


def test_predict_skips_a_blank_picture_and_predicts_the_others(cli: Cli, run_folder: Path, seven: Path):
    Image.new("L", (40, 40), 255).save("blank.png")
    Path("empty.png").write_bytes(b"")
    result = cli("predict", str(run_folder), "blank.png", str(seven), "empty.png", str(seven))
    assert result.code == 2
    assert [line.split(": ")[0] for line in result.out.splitlines()] == [str(seven)] * 2
    assert [line.split()[1] for line in result.err.splitlines()] == ["blank.png", "empty.png"]
    output = cli("predict", str(run_folder), "blank.png", str(seven), "--json")
    assert (output.code, output.out.count("\n")) == (2, 1)
    assert [prediction["image"] for prediction in json.loads(output.out)["predictions"]] == [str(seven)]
    assert json.loads(output.out)["skipped"] == [{"image": "blank.png", "reason": output.err[len("pellucid: ") : -1]}]
    assert cli("predict", str(run_folder), "blank.png", "--json").out == ""


@pytest.mark.parametrize("model_name", ["digits", "mnist-lenet", "run"])
def test_summary_counts_parameters(model_name: str, cli: Cli, run_folder: Path):
    output = cli("summary", str(run_folder) if model_name == "run" else model_name, "--json").json
    expected = {"digits": 4810, "mnist-lenet": 61706, "run": 4810}  # LeNet-5 with fully connected C3
    assert output["parameters"] == expected[model_name]
    assert sum(layer["parameters"] for layer in output["layers"]) == expected[model_name]


@pytest.mark.parametrize("model_name", ["xor", "run"])
def test_verify_accepts_every_gradient(model_name: str, cli: Cli, run_folder: Path):
    output = cli("verify", str(run_folder) if model_name == "run" else model_name, "--json", "--batch", "3").json
    assert output["ok"]
    assert {row["form"] for row in output["rows"]} == {"written", "training", "predicting"}


def test_verify_checks_the_network_as_the_recipe_trains_it(cli: Cli, monkeypatch: pytest.MonkeyPatch):
    original = FusedDense.backward

    def delayed_backward(self: FusedDense, params: Any, cache: Any, dy: torch.Tensor) -> Any:
        _, dparams = original(self, params, cache, dy)
        return dy @ params["weight"], dparams  # wrong if the optimizer has updated the weight in the backward pass

    monkeypatch.setattr(FusedDense, "backward", delayed_backward)
    settings = "network.sizes=[64, 5, 10]", "--json", "--batch", "3"
    assert cli("verify", "digits", "optimizer.name=adam", *settings).json["ok"]
    output = cli("verify", "digits", "optimizer.name=sgd", *settings)
    assert output.code == 1
    assert not json.loads(output.out)["ok"]


def test_verify_refuses_outputs_without_a_loss(cli: Cli, tmp_path: Path):
    net = Sequential(flatten=Flatten(), heads=Fork(left=Dense(2), right=Dense(3)))
    Model(net, input_shape=(1, 4, 4)).save(tmp_path / "two.safetensors")
    assert "two.safetensors has several outputs, ((2,), (3,))" in cli("verify", "two.safetensors").error_line
    assert cli("summary", "two.safetensors", "--json").json["parameters"] == 17 * 5


def test_verify_draws_targets_for_the_number_of_classes_and_the_output_positions(cli: Cli, tmp_path: Path):
    for name, net in (("three", Sequential(flatten=Flatten(), out=Dense(3))), ("map", Conv2d(2, 3))):
        Model(net, input_shape=(1, 4, 4)).save(tmp_path / f"{name}.safetensors")
        assert cli("verify", f"{name}.safetensors", "--json").json["ok"]


def test_data_list_and_recipes_list_every_name(cli: Cli, tmp_path: Path):
    output = cli("data", "list", "--json").json
    assert output["root"] == str(tmp_path / "data")
    assert {entry["name"]: entry["present"] for entry in output["data"]}["digits"]
    assert cli("data", "get", "digits", "--json").json["files"]
    assert cli("data", "check", "--json").json["ok"]
    assert any(recipe["name"] == "xor" for recipe in cli("recipes", "--json").json["recipes"])
    assert cli("recipes", "xor", "--json").json["recipe"]["train"]["epochs"] == 1000


def test_recipes_explain_every_key(cli: Cli):
    tables = {table["name"]: table for table in cli("recipes", "--keys", "--json").json["tables"]}
    recipe = cli("recipes", "digits", "--json").json["recipe"]
    text = cli("recipes", "--keys").out
    for name, values in recipe.items():
        known_keys = [key["name"] for part in (tables[name], *tables[name]["choices"]) for key in part["keys"]]
        assert set(values) <= set(known_keys)
        assert f"[{name}]\n" in text
        assert all(f"  {key}  " in text for key in values)


def test_numbers_that_json_lacks_become_null():
    result = to_json_types({"a": math.nan, "b": [math.inf, 1.5], "c": Path("x"), 3: (True, None)})
    assert result == {"a": None, "b": [None, 1.5], "c": "x", "3": [True, None]}
