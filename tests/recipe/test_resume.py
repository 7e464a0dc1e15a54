"""Resuming and extending runs on a user's own data, and pairs of runs."""

import shutil
import signal
from pathlib import Path

import pytest

from pellucid.base.errors import PellucidError
from pellucid.recipe.job import Run, train
from pellucid.recipe.recipe import load_recipe
from pellucid.recipe.resume import resume_runs
from pellucid.run.history import read_csv
from pellucid.training.step import TrainingStep
from tests.recipe.pictures import write_colour_folder

pytestmark = pytest.mark.usefixtures("no_report")
SETTINGS = {"network.model": "airbench", "network.width": 4, "network.classes": 3, "train.epochs": 1}
RENAMED = {"one": {"red": "rot"}, "to the front": {"blue": "azure"}, "all": {"blue": "1", "green": "2", "red": "3"}}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colour_folder(tmp_path_factory.mktemp("pictures"), 8)


@pytest.mark.parametrize("stream", [False, pytest.param(True, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", RENAMED)
def test_a_run_is_not_extended_with_renamed_classes(kind: str, stream: bool, pictures: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(pictures, tmp_path / "data"))
    settings = {**SETTINGS, "data.name": str(data), "data.size": 12, "data.stream": stream}
    run = train("digits", out=tmp_path / "runs", progress=False, **settings).path
    for name, other in RENAMED[kind].items():
        (data / name).rename(data / other)
    weights = (run / "weights/last.safetensors").read_bytes()
    with pytest.raises(PellucidError, match=r"was begun with other settings: (training data, .*)?classes; resume"):
        resume_runs(run, progress=False, epochs=2)
    assert (run / "weights/last.safetensors").read_bytes() == weights
    for name, other in RENAMED[kind].items():
        (data / other).rename(data / name)
    (extended,) = resume_runs(run, progress=False, epochs=2)
    assert extended.model.classes == ("blue", "green", "red")


def interrupted_extension(run: Path, step: int, epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Extend a run, and press Ctrl-C in a step, counted over both runs of a pair."""
    original_step, steps_taken = TrainingStep.__call__, list[int]()

    def interrupt(self: TrainingStep, *args: object) -> object:
        steps_taken.append(1)
        if len(steps_taken) == step:
            signal.raise_signal(signal.SIGINT)
        return original_step(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingStep, "__call__", interrupt)
        with pytest.raises(KeyboardInterrupt):
            resume_runs(run, progress=False, epochs=epochs)


def trained_pair(out: Path) -> Path:
    """Train a pair of runs for an epoch, of 23 steps and one step, and return the first."""
    train("digits", out=out, progress=False, **{"train.epochs": 1, "recipe.then": "xor", "train.batch_size": 64})
    return out / "digits-1"


def sha256s(runs: list[Run]) -> list[str]:
    return [run.metrics["sha256"] for run in runs]


@pytest.mark.parametrize("step", [47, *(pytest.param(step, marks=pytest.mark.long) for step in (1, 5, 46, 48))])
def test_an_interrupted_extension_of_a_pair_is_resumed(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An extension to 3 epochs has 46 steps of the first run and 2 of the second."""
    run = trained_pair(tmp_path / "runs")
    other = Path(shutil.copytree(tmp_path / "runs", tmp_path / "other")) / run.name
    resume_runs(run, progress=False)
    resume_runs(other, progress=False)
    interrupted_extension(run, step, 3, monkeypatch)
    expected = sha256s(resume_runs(other, progress=False, epochs=3))
    extended = resume_runs(run, progress=False, epochs=3)
    assert sha256s(extended) == expected
    assert [len(read_csv(part.path / "metrics.csv")) for part in extended] == [3, 3]
    assert [load_recipe(part.path).train.epochs for part in extended] == [3, 3]
    with pytest.raises(PellucidError, match="was trained for 3 epochs; give more, not 3"):
        resume_runs(run, progress=False, epochs=3)


def test_an_interrupted_extension_of_a_pair_has_no_other_number_of_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained_pair(tmp_path)
    interrupted_extension(run, 5, 3, monkeypatch)
    with pytest.raises(PellucidError, match="is not finished; resume it without train"):
        resume_runs(run, progress=False, epochs=4)
    assert len(resume_runs(run, progress=False)) == 2
