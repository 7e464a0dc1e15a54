"""The folder that the processes of a sweep share, and the options for SLURM, without long trainings."""

from pathlib import Path

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.recipe.recipe import load_recipe
from pellucid.tuning import slurm
from pellucid.tuning.folder import MAX_ATTEMPTS, Outcome, TrialRun, TuningFolder
from pellucid.tuning.plan import TuningPlan, make_plan
from pellucid.tuning.worker import Worker


def plan_of_rates(recipe: str = "digits", threads: int = 1, **settings: object) -> TuningPlan:
    base = load_recipe(recipe, {"data.validation": 0.1, **settings})
    return make_plan(base, {"optimizer.lr": [0.01, 0.1]}, threads=threads)


def test_attempts_are_counted_since_the_last_checkpoint(tmp_path: Path) -> None:
    run = TrialRun(tmp_path, 1, 0)
    assert [run.count_attempt(0) for _ in range(MAX_ATTEMPTS + 1)] == [True] * MAX_ATTEMPTS + [False]
    assert all(run.count_attempt(step) for step in range(1, 20))
    run.forget_attempts()  # as a run does after Ctrl-C
    assert [run.count_attempt(19) for _ in range(MAX_ATTEMPTS + 1)] == [True] * MAX_ATTEMPTS + [False]
    run.finish(Outcome("failed"))
    (tmp_path / "outcome.json").unlink()
    assert run.count_attempt(19)  # a run without an outcome is tried again


def test_machines_with_different_numbers_of_processors_share_a_sweep(tmp_path: Path) -> None:
    folder = TuningFolder(tmp_path)
    settings = {"recipe.threads": 0}
    first_plan = folder.begin(plan_of_rates(threads=4, **settings), may_change_threads=True)
    assert folder.begin(plan_of_rates(threads=16, **settings), may_change_threads=True) == first_plan
    assert folder.plan().threads == 4
    with pytest.raises(PellucidError, match="a sweep with another recipe"):
        folder.begin(plan_of_rates(threads=16, **settings), may_change_threads=False)


def test_a_run_on_a_machine_without_the_data_is_not_counted_as_failed(tmp_path: Path) -> None:
    folder = TuningFolder(tmp_path / "found")
    folder.begin(plan_of_rates("mnist-lenet"), may_change_threads=False)
    (tmp_path / "data").mkdir()
    with pytest.raises(PellucidError, match="mnist"):
        Worker(folder, tmp_path / "data").work()
    assert not [*folder.path.rglob("outcome.json")]


def test_a_run_on_a_machine_without_the_device_is_not_counted_as_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    folder = TuningFolder(tmp_path / "found")
    folder.begin(plan_of_rates(**{"recipe.device": "cuda"}), may_change_threads=False)
    with pytest.raises(PellucidError, match="cuda"):
        Worker(folder).work()
    assert not [*folder.path.rglob("outcome.json")]


@pytest.mark.parametrize("text", ["90", "90:00", "1:30:00", "1:29:30", "0-1:30", "0-01:30:00"])
def test_times_are_read_as_by_slurm(text: str) -> None:
    """The formats of `man sbatch`: minutes, minutes:seconds, hours:minutes:seconds, days-hours[:minutes[:seconds]]."""
    assert slurm._minutes(text) == 90
    assert slurm._minutes("2-12") == 60 * 60


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"time": "soon"}, "time=soon is no time"),
        ({"time": "0"}, "time=0 is no time"),
        ({"time": "1:2:3:4"}, "is no time"),
        ({"cpus": "many"}, "cpus=many is no number from 1"),
        ({"gpus": "0"}, "gpus=0 is no number from 1"),
        ({"queue": "long"}, "no option"),
    ],
)
def test_invalid_options_of_slurm_are_reported_in_one_line(options: dict[str, str], message: str) -> None:
    with pytest.raises(PellucidError, match=message) as caught:
        slurm.check_slurm(options)
    assert "\n" not in str(caught.value)
