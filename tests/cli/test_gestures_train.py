"""`pellucid gestures train` trains a calibrated model on a folder, and reports each error in one line."""

import json
import shutil
import signal
from pathlib import Path

import pytest

from pellucid.model import Model
from pellucid.models import airbench96
from pellucid.recipe.recipe import load_recipe
from pellucid.training.progress import ProgressLine
from tests.cli.conftest import Cli
from tests.data.quality.photos import file_of, photo

FAST_SETTINGS = ("start.weights=", "network.width=2", "--size", "16", "train.precision=float32")


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """Two classes of six photos, one damaged file and one copy."""
    root = tmp_path / "hands"
    for c, name in enumerate("ab"):
        (root / name).mkdir(parents=True)
        for k in range(6):
            (root / name / f"{k}.png").write_bytes(file_of(photo(6 * c + k)))
    (root / "a" / "bad.png").write_bytes(b"no")
    (root / "b" / "copy.jpg").write_bytes(file_of(photo(6), "JPEG", quality=70))
    return root


@pytest.mark.usefixtures("no_report")
def test_text_output_has_findings_result_and_next_steps(cli: Cli, image_folder):
    result = cli("gestures", "train", "hands", *FAST_SETTINGS, "--epochs", "1", "--out", "runs")
    assert result.code == 0, result.err
    assert f"{image_folder}: 13 images of 2 classes; train 11, test 2" in result.out
    assert "1 file cannot be read and is left out:" in result.out
    assert "2 images in 1 group of near duplicates:" in result.out
    assert "on 2 test examples" in result.out
    assert "  confidence fitted on these images, which are too few to measure it" in result.out.splitlines()
    assert "of the held-out images" not in result.out
    assert result.out.splitlines()[-1].endswith(" gestures predict runs/gestures-1 IMAGE")
    answer = cli("gestures", "predict", "runs/gestures-1", "hands/a/0.png", "--json").json
    assert answer["predictions"][0]["label"] in ("a", "b")
    assert answer["confidence"] is not None


@pytest.mark.slow
def test_json_is_one_object(cli: Cli, image_folder):
    output = cli("gestures", "train", "hands", *FAST_SETTINGS, "--epochs", "1", "--seed", "3", "--json").json
    assert output["run"] == "runs/gestures-1"
    assert set(output["confidence"]) == {"temperature", "threshold", "coverage", "accuracy", "measured"}
    assert (output["confidence"]["coverage"], output["confidence"]["accuracy"]) == (None, None)
    assert (output["collection"]["corrupt"], output["collection"]["duplicate_images"]) == (1, 2)
    collection = json.loads(Path("runs/gestures-1/collection.json").read_bytes())
    command = collection.pop("command")
    assert collection == output["collection"]
    assert command.startswith("pellucid gestures train hands --epochs 1 --size 16 --seed 3 ")
    assert command.endswith(FAST_SETTINGS[-1])
    assert command in Path("runs/gestures-1/report.html").read_text()
    assert "seed = 3" in Path("runs/gestures-1/recipe.toml").read_text()


@pytest.mark.usefixtures("no_report")
def test_ctrl_c_prints_the_command_that_resumes_the_run(cli: Cli, image_folder, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(ProgressLine, "on_epoch_end", lambda *_: signal.raise_signal(signal.SIGINT))
        stopped = cli("gestures", "train", "hands", *FAST_SETTINGS, "--epochs", "2")
    assert stopped.code == 130
    assert "resume with pellucid train --resume runs/gestures-1" in stopped.err
    assert cli("gestures", "train", "--resume", "runs/gestures-1", "--json").json["epochs"] == 2
    shutil.rmtree(image_folder)
    assert "hands is missing" in cli("gestures", "train", "--resume", "runs/gestures-1").error_line


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "needs a FOLDER"),
        (("nowhere",), "no folder, file or data set 'nowhere'"),
        (("hands/a/0.png",), "is neither a folder nor a .zip"),
        (("hands/a",), "no class folders"),
        (("hands", "--size", "8"), "data.size is 8"),
        (("hands", "--epochs", "0"), "train.epochs"),
        (("hands", "--epochs", "3", "train.epochs=4"), "train.epochs is set twice"),
        (("hands", "--seed", "-1"), "is not a seed; give a whole number from 0"),
        (("hands", "train.epoch=4"), "did you mean 'train.epochs'"),
        (("hands", "data.name=other"), "the folder comes first"),
        (("hands", "--backbone", "nothing"), "no model 'nothing'"),
        (("hands", "--out", "hands/a/0.png"), "is a file; name a folder"),
        (("hands", "--resume", "runs"), "leave out all other arguments"),
        (("--resume", "hands"), "has no collection.json"),
        (("--resume", "hands", "--epochs", "2"), "leave out all other arguments"),
    ],
)
def test_invalid_arguments_are_reported_in_one_line_and_leave_no_folder(cli: Cli, image_folder, words, complaint):
    start_settings = ("start.weights=",) if words and words[0].startswith(("hands", "nowhere")) else ()
    start_settings = () if "--resume" in words else start_settings
    assert complaint in cli("gestures", "train", *words, *start_settings).error_line
    assert not Path("runs").exists()


@pytest.mark.usefixtures("no_report")
def test_the_training_starts_from_the_given_backbone(cli: Cli, image_folder, tmp_path: Path):
    backbone = str(tmp_path / "mine.safetensors")
    Model(airbench96(width=2), input_shape=(3, 16, 16)).save(backbone)
    words = (
        "gestures",
        "train",
        "hands",
        "--backbone",
        backbone,
        "--size",
        "16",
        "--epochs",
        "1",
        "train.precision=float32",
    )
    assert "differ from this network's" in cli(*words, "network.width=4").error_line
    run = cli(*words, "network.width=2", "--json").json["run"]
    assert load_recipe(run).start.weights == backbone
