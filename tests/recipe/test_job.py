"""Training by recipe: run folders, equal seeds, resuming, extending, and runs that follow other runs."""

import csv
import json
import re
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.data import load
from pellucid.model import Model
from pellucid.recipe import resume as resuming
from pellucid.recipe.job import Job, Run, train
from pellucid.recipe.recipe import load_recipe
from pellucid.recipe.resume import resume, resume_runs
from pellucid.run.history import read_csv
from pellucid.training import trackers

ONE_EPOCH = {"train.epochs": 1}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("jobs")
    return train("digits", out=out, progress=False, **{"train.epochs": 3, "data.validation": 0.2, "recipe.seed": 7})


@pytest.mark.slow
def test_the_run_folder_has_all_documented_files(run: Run):
    for name in ("manifest.json", "metrics.csv", "layers.csv", "results.json", "report.html", "figures/loss.png"):
        assert (run.path / name).is_file(), name
    assert run.path.name == "digits-1"
    assert load_recipe(run.path / "recipe.toml") == run.recipe
    assert tomllib.loads((run.path / "recipe.toml").read_text())["recipe"]["seed"] == 7
    with (run.path / "metrics.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]
    manifest = json.loads((run.path / "manifest.json").read_text())
    assert manifest["seed"] == 7
    assert set(manifest["data"]) == {"train", "validation", "test"}
    assert manifest["data"]["test"] == load("digits").test.checksum


@pytest.mark.slow
def test_the_results_are_those_of_the_best_weights_on_the_test_images(run: Run):
    best = Model.load(run.path / "weights/best.safetensors")
    evaluation = best.evaluate(load("digits").test)
    assert run.metrics["weights"] == "best"
    assert (run.metrics["accuracy"], run.metrics["n"]) == (evaluation["accuracy"], 359)
    assert run.metrics["sha256"] == best.sha256() == run.model.sha256()


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_an_equal_recipe_gives_equal_weights(run: Run, tmp_path: Path):
    repeated = train(run.recipe, out=tmp_path, progress=False)
    assert repeated.metrics["sha256"] == run.metrics["sha256"]


@pytest.mark.usefixtures("no_report")
def test_another_seed_gives_different_weights(run: Run, tmp_path: Path):
    other = train("digits", out=tmp_path, progress=False, **{"train.epochs": 1, "recipe.seed": 8})
    assert other.metrics["sha256"] != run.metrics["sha256"]


@pytest.mark.usefixtures("no_report")
def test_a_run_folder_with_only_a_recipe_is_resumed_from_the_start(run: Run, tmp_path: Path):
    (tmp_path / "recipe.toml").write_text(run.recipe.to_toml())
    assert resume(tmp_path, progress=False).metrics["sha256"] == run.metrics["sha256"]


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_an_extended_run_equals_a_run_with_more_epochs(tmp_path: Path):
    settings = {"schedule.name": "constant", "train.epochs": 3}
    three_epochs = train("digits", out=tmp_path / "whole", progress=False, **settings)
    one_epoch = train("digits", out=tmp_path / "short", progress=False, **{**settings, "train.epochs": 1})
    (extended,) = resume_runs(one_epoch.path, progress=False, epochs=3)
    assert extended.metrics["sha256"] == three_epochs.metrics["sha256"] != one_epoch.metrics["sha256"]
    assert len(read_csv(extended.path / "metrics.csv")) == extended.recipe.train.epochs == 3
    with pytest.raises(PellucidError, match="was trained for 3 epochs; give more, not 3"):
        resume_runs(one_epoch.path, progress=False, epochs=3)


def contents(folder: Path) -> dict[Path, bytes]:
    """Return the files of a folder, without locks."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "lock"}


def change_recipe(run: Path, **changes: str) -> None:
    """Replace lines `key = value` of a run's recipe."""
    text = (run / "recipe.toml").read_text()
    for key, value in changes.items():
        text, count = re.subn(rf"^{key} = .*$", f"{key} = {value}", text, flags=re.MULTILINE)
        assert count == 1
    (run / "recipe.toml").write_text(text)


def damage(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


REFUSED_EXTENSIONS: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "fewer epochs": (lambda run: None, 1, "give more, not 1"),
    "another learning rate": (lambda run: change_recipe(run, lr="0.5"), 4, "other settings: optimizer"),
    "an unknown key": (lambda run: change_recipe(run, standardize="false\nx = 1"), 4, "unknown key 'data.x'"),
    "missing data": (lambda run: change_recipe(run, limit='0\ndata.name = "none"'), 4, "is not TOML|unknown"),
    "an unknown metric": (lambda run: change_recipe(run, metrics='["x"]'), 4, "no metric 'x'"),
    "too many shards": (lambda run: change_recipe(run, shards="5000"), 4, "shards"),
    "a monitor that is no column": (lambda run: change_recipe(run, monitor='"val_miou"'), 4, "no column 'val_miou'"),
    "a damaged checkpoint": (
        lambda run: [damage(file) for file in run.glob("weights/*.safetensors")], 4, "is damaged"
    ),
    "a damaged manifest": (lambda run: (run / "manifest.json").write_text("{"), 4, "manifest.json cannot be read"),
    "a tracker that is not installed": (lambda run: change_recipe(run, log='["wandb"]'), 4, "wandb is not installed"),
    "a network that does not fit": (lambda run: change_recipe(run, sizes="[64, 3]"), 4, "network|classes"),
    "no second run": (lambda run: change_recipe(run, then='"xor"'), 4, "the run that follows .* is missing"),
}  # fmt: skip


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("case", REFUSED_EXTENSIONS)
def test_a_refused_extension_changes_no_file(case: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    change, epochs, message = REFUSED_EXTENSIONS[case]
    copy = tmp_path / "runs/digits-1"
    shutil.copytree(run.path, copy)
    change(copy)
    before = contents(tmp_path)
    with pytest.raises(PellucidError, match=message):
        resume_runs(copy, progress=False, epochs=epochs)
    assert contents(tmp_path) == before


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_the_manifest_of_a_run_without_validation_has_two_checksums(tmp_path: Path):
    run = train("digits", out=tmp_path, progress=False, **{"train.epochs": 1})
    manifest = json.loads((run.path / "manifest.json").read_text())
    splits = load("digits")
    assert manifest["data"] == {"train": splits.train.checksum, "test": splits.test.checksum}


SHORT_WITH_THEN = {"train.epochs": 1, "recipe.then": "xor"}


def train_and_fail_before_the_second(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train digits, which xor follows, and raise an error before xor is trained."""
    original_train = Job.train

    def fail_on_xor(self: Job) -> Run:
        if self.recipe.name == "xor":
            raise ZeroDivisionError
        return original_train(self)

    with monkeypatch.context() as patch:
        patch.setattr(Job, "train", fail_on_xor)
        with pytest.raises(ZeroDivisionError):
            train("digits", out=out, progress=False, **SHORT_WITH_THEN)


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_resuming_a_run_trains_the_following_run_with_the_same_overrides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    train_and_fail_before_the_second(tmp_path, monkeypatch)
    first, second = resume_runs(tmp_path / "digits-1", progress=False)
    assert (first.path.name, second.path.name) == ("digits-1", "xor-1")
    assert len(read_csv(second.path / "metrics.csv")) == 1  # train.epochs=1 overrides the 1,000 epochs of the recipe
    resumed_again = resume_runs(tmp_path / "digits-1", progress=False)
    assert [run.metrics["sha256"] for run in resumed_again] == [first.metrics["sha256"], second.metrics["sha256"]]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digits-1", "xor-1"]


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_a_deleted_following_run_is_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    train_and_fail_before_the_second(tmp_path, monkeypatch)
    shutil.rmtree(tmp_path / "xor-1")
    monkeypatch.setattr(
        resuming,
        "load_recipe",
        lambda name, overrides=None: load_recipe(name, {} if "digits" in str(name) else ONE_EPOCH),
    )
    assert [run.path.name for run in resume_runs(tmp_path / "digits-1", progress=False)] == ["digits-1", "xor-1"]
    assert (tmp_path / "digits-1" / "then.txt").read_text() == "xor-1\n"


@pytest.mark.usefixtures("no_report")
def test_the_loaded_model_standardizes_images_as_in_training(tmp_path: Path):
    run = train("digits", out=tmp_path, progress=False, **{"train.epochs": 1, "data.standardize": True})
    assert len(run.model.preprocess["mean"]) == 1
    assert run.metrics["accuracy"] > 0.5


def test_refused_recipes_leave_no_folder(tmp_path: Path):
    message = "digits: the network outputs 9 values, but the data have 10 classes .*; end network.sizes with 10"
    with pytest.raises(PellucidError, match=message):
        train("digits", out=tmp_path / "runs", **{"network.sizes": [64, 9]})
    assert not (tmp_path / "runs").exists()


def test_overrides_of_a_recipe_object_are_refused(run: Run):
    with pytest.raises(PellucidError, match="overrides"):
        train(run.recipe, **{"train.epochs": 1})


@pytest.mark.usefixtures("no_report")
def test_the_number_of_threads_is_restored(tmp_path: Path):
    n_threads = torch.get_num_threads()
    train("xor", out=tmp_path, progress=False, **{"train.epochs": 1, "recipe.threads": n_threads + 1})
    assert torch.get_num_threads() == n_threads


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_xor_is_learned_to_the_published_error(tmp_path: Path):
    run = train("xor", out=tmp_path, progress=False)
    assert run.metrics["accuracy"] == 1
    assert 0.0001 < run.metrics["loss"] < 0.0008  # 0.00038 is published; initial weights differ
