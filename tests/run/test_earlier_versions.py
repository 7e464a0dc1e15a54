"""Runs and weights of earlier versions, which tools/write_fixture.py wrote: they are read, resumed and extended."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from pellucid.base.errors import PellucidError
from pellucid.cli.main import main
from pellucid.model import Model
from pellucid.recipe.compare import compare_runs
from pellucid.recipe.recipe import load_recipe
from pellucid.recipe.resume import resume, resume_runs
from pellucid.run.history import History

ROOT = Path(__file__).parents[2]
FIXTURES = Path(__file__).parent / "fixtures"
VERSIONS = sorted(folder.name for folder in FIXTURES.iterdir())
pytestmark = [pytest.mark.parametrize("version", VERSIONS), pytest.mark.usefixtures("no_report")]
# The same steps on another processor, or with another version of PyTorch, differ in the last bits.
TOLERANCE = 1e-3
LOSSES = ("train_loss", "val_loss")


def copy_of_run(version, name, tmp_path):
    return Path(shutil.copytree(FIXTURES / version / name, tmp_path / name))


def contents(folder):
    """Return the files of a folder, without the lock."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "lock"}


def losses(history):
    return [history[name] for name in LOSSES]


def test_networks_output_what_they_did(version):
    x = torch.linspace(-1, 1, 64).reshape(1, 1, 8, 8)
    expected = json.loads((FIXTURES / version / "expected.json").read_text())["outputs"]
    assert len(expected) == 3
    for name, outputs in expected.items():
        assert Model.load(FIXTURES / version / name)(x).tolist() == [pytest.approx(outputs[0], rel=1e-4)], name


def test_commands_predict_and_evaluate(version, tmp_path, capsys):
    run = copy_of_run(version, "classifier", tmp_path)
    Image.linear_gradient("L").save(tmp_path / "picture.png")
    assert main(["predict", str(run), str(tmp_path / "picture.png"), "--json"]) == 0
    assert str(tmp_path / "picture.png") in capsys.readouterr().out
    assert main(["evaluate", str(run), "--json"]) == 0
    recorded = json.loads((run / "results.json").read_text())
    assert json.loads(capsys.readouterr().out)["accuracy"] == pytest.approx(recorded["accuracy"], abs=0.01)


def test_runs_are_compared(version, tmp_path):
    runs = [copy_of_run(version, name, tmp_path) for name in ("classifier", "stopped")]
    assert [len(run.history) for run in compare_runs(runs).runs] == [3, 1]


def test_a_finished_run_is_returned_unchanged(version, tmp_path):
    run = copy_of_run(version, "classifier", tmp_path)
    before = contents(run)
    assert resume(run, progress=False).metrics == json.loads((run / "results.json").read_text())
    assert contents(run) == before


def test_a_stopped_run_is_resumed_like_the_run_that_was_not_stopped(version, tmp_path):
    run = copy_of_run(version, "stopped", tmp_path)
    resume(run, progress=False)
    expected = losses(History.read(FIXTURES / version / "classifier"))
    assert losses(History.read(run)) == [pytest.approx(column, rel=TOLERANCE) for column in expected]


@pytest.mark.parametrize("name", ["classifier", "generator"])
def test_a_finished_run_is_extended(version, name, tmp_path):
    run = copy_of_run(version, name, tmp_path)
    earlier = History.read(run)
    epochs = len(earlier) + 2
    (extended,) = resume_runs(run, progress=False, epochs=epochs)
    history = History.read(run)
    assert len(history) == epochs == extended.recipe.train.epochs == load_recipe(run).train.epochs
    assert [column[: len(earlier)] for column in losses(history)] == losses(earlier)
    assert json.loads((run / "manifest.json").read_text())["resumed"]


@pytest.mark.parametrize(
    ("line", "other_line", "setting"),
    [
        ("sizes = [64, 16, 10]", "sizes = [64, 12, 10]", "network"),
        ("dropout = 0.1", "dropout = 0.2", "network"),
        ('init_weight = "he"', 'init_weight = "xavier"', "network"),
        ("label_smoothing = 0.0", "label_smoothing = 0.1", "loss"),
        ("lr = 0.01", "lr = 0.02", "optimizer"),
        ("amsgrad = false", "amsgrad = true", "optimizer"),
        ("patience = 10", "patience = 9", "schedule"),
        ("lam = 0.1", "lam = 0.2", "regularizer"),
        ("shift = 0.1", "shift = 0.2", "augmentation"),
        ("standardize = true", "standardize = false", "preprocessing"),
        ("limit = 400", "limit = 300", "training data"),
        ("batch_size = 32", "batch_size = 16", "batch size"),
        ("clip = 0.0", "clip = 1.0", "clipping"),
        ("average = 0.9", "average = 0.0", "average of the weights"),
        ('metrics = ["accuracy", "macro_f1"]', 'metrics = ["accuracy"]', "metrics"),
        ("seed = 1", "seed = 2", "seed"),
        ("frozen = []", 'frozen = ["head.*"]', "frozen parameters"),
        ("rates = []", 'rates = ["head.*=2"]', "rates by path"),
    ],
)
def test_a_run_with_another_setting_is_refused_and_left_as_it_was(version, line, other_line, setting, tmp_path):
    run = copy_of_run(version, "classifier", tmp_path)
    recipe = (run / "recipe.toml").read_text()
    assert f"\n{line}\n" in recipe
    (run / "recipe.toml").write_text(recipe.replace(f"\n{line}\n", f"\n{other_line}\n"))
    before = contents(tmp_path)
    with pytest.raises(PellucidError, match=rf"was begun with other settings: .*\b{setting}\b"):
        resume_runs(run, progress=False, epochs=5)
    assert contents(tmp_path) == before


def test_each_release_has_a_fixture(version):
    releases = re.findall(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert releases
    assert {*releases} <= {*VERSIONS}, "write the missing ones by tools/write_fixture.py, in a checkout of the release"
