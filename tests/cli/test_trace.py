"""`pellucid trace` on the shipped models."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from pellucid import Dense, Flatten, Model, Sequential
from tests.cli.conftest import Cli


def test_trace_prints_the_layers(cli: Cli, seven: Path) -> None:
    result = cli("trace", "mnist-lenet", str(seven))
    assert result.code == 0
    assert "class 9 (the second, since the loss of the predicted class, 7, is only " in result.out
    assert "Conv2d(16, 5)" in result.out


def test_trace_explains_a_value_and_changes_a_weight(cli: Cli, seven: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    words = ("--target", "3", "--weight", "head.scores.weight[3, 17]", "--nudge", "0.1", "--html", str(page))
    result = cli("trace", "mnist-mlp-100", str(seven), *words)
    assert result.code == 0
    assert "∂C/∂head.scores.weight[3, 17]" in result.out
    assert "predicted" in result.out
    assert "class 3\n" in result.out
    assert "head.scores.weight[3, 17]" in page.read_text("utf-8")


def test_json_is_the_tree_of_an_explanation(cli: Cli, seven: Path) -> None:
    output = cli(
        "trace", "mnist-mlp-100", str(seven), "--weight", "features.dense1.weight", "--nudge", "1e-4", "--json"
    ).json
    links = output["explanation"]["links"]
    assert output["target"] == "7"
    assert links[0]["derivative_by"].startswith("features.dense1.weight[")
    assert links[-1]["where"] == "loss"
    assert output["explanation"]["exact"]
    assert output["nudge"]["actual"] == pytest.approx(output["nudge"]["predicted"], rel=1e-2)
    assert "features.dense1.dweight" in [tensor["name"] for tensor in output["trace"]["tensors"]]


MESSAGES = {
    ("--target", "eleven"): "no class 'eleven'",
    ("--target", "12"): "its classes are 0, 1, 2",
    ("--weight", "features.dense9.weight"): "did you mean",
    ("--weight", "head.scores.weight[1]"): "2 axes",
    ("--nudge", "1"): "give both",
    ("--weight", "head.scores.bias", "--nudge", "0"): "other than 0",
    ("--weight", "head.scores.bias", "--nudge", "inf"): "finite number other than 0",
    ("--weight", "head.scores.bias", "--nudge", "1e-300"): "below the rounding",
    ("--top", "0"): "--top is 0",
    ("--html", "nowhere/page.html"): "does not exist",
    ("--html", "."): "is a folder",
}


@pytest.mark.parametrize("words", MESSAGES)
def test_invalid_arguments_are_refused(cli: Cli, seven: Path, words: tuple[str, ...]) -> None:
    assert MESSAGES[words] in cli("trace", "mnist-mlp-100", str(seven), *words).error_line


def test_unwritable_page_path_is_refused_before_any_work(cli: Cli, tmp_path: Path) -> None:
    """The model and the picture do not exist, and neither is opened."""
    (tmp_path / "page").mkdir()
    for command in (("trace", "no-model", "no.png"), ("doctor", "no-model")):
        assert "--html: 'page' is a folder" in cli(*command, "--html", "page").error_line
        assert "--html: 'x" in cli(*command, "--html", "x" * 300).error_line
        assert "cannot be written" in cli(*command, "--html", "x" * 300).error_line
        assert "does not exist" in cli(*command, "--html", "nowhere/page.html").error_line
    assert [path.name for path in tmp_path.iterdir()] == ["page"]


@pytest.mark.slow
def test_the_target_is_the_class_of_the_folder_or_one_with_a_loss_above_0(
    cli: Cli, seven: Path, tmp_path: Path
) -> None:
    labelled = tmp_path / "2" / "a.png"
    labelled.parent.mkdir()
    shutil.copy(seven, labelled)
    page = tmp_path / "page.html"
    result = cli("trace", "mnist-lenet", str(labelled), "--html", str(page))
    assert "class 2 (the name of its folder)" in result.out.splitlines()[0]
    assert "class 2 (the name of its folder)" in page.read_text(encoding="utf-8")
    target_output = cli("trace", "mnist-lenet", str(labelled), "--target", "7", "--json").json
    assert (target_output["target"], target_output["chosen"]) == ("7", None)
    certain_output = cli("trace", "mnist-lenet", str(seven), "--json").json
    scores = cli("predict", "mnist-lenet", str(seven), "--json").json["probabilities"]
    assert certain_output["target"] == sorted(scores, key=scores.get)[-2]


def test_a_class_is_predicted_unless_its_loss_is_tiny(cli: Cli, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), (200, 10, 10)).save(tmp_path / "red.png")
    for loss, outputs in (("binary_cross_entropy", 1), ("softmax_cross_entropy", 3)):
        model = Model(Sequential(Flatten(), Dense(outputs)), loss=loss, input_shape=(3, 8, 8))
        model.save(tmp_path / "model.safetensors")
        output = cli("trace", str(tmp_path / "model.safetensors"), str(tmp_path / "red.png"), "--json").json
        predicted = cli("predict", str(tmp_path / "model.safetensors"), str(tmp_path / "red.png"), "--json").json
        assert (output["target"], output["chosen"]) == (predicted["label"], "predicted")
