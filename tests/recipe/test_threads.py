"""recipe.threads = "auto": the measured number is recorded, used again on resuming, and repeats the run as a number."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.doctor.run_case import case_of_run
from pellucid.model import Model
from pellucid.recipe import threads
from pellucid.recipe.job import Job, Run, new_jobs, train
from pellucid.recipe.recipe import load_recipe
from pellucid.recipe.resume import resume
from pellucid.recipe.start import whiten
from pellucid.run.folder import RunFolder
from pellucid.training.checkpoint import SavedState
from pellucid.training.distributed import Processes
from pellucid.training.threads import FastestThreads
from pellucid.tuning.plan import make_plan
from tests.training.small import StopAt, Stopped

AUTO: dict[str, Any] = {
    "recipe.threads": "auto",
    "train.epochs": 2,
    "data.limit": 300,
    "train.checkpoint_seconds": 1e-9,
}
# A network whose bits depend on the number of threads.
WHITENED: dict[str, Any] = {
    **AUTO, "network.model": "convnet", "network.width": 16, "start.whiten": "features.block1.conv1"
}  # fmt: skip

pytestmark = pytest.mark.usefixtures("no_report")


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Make two threads the measured number; return the list of the batch sizes with which it was measured."""
    batch_sizes: list[int] = []

    def fastest(model: Model, data: Any, batch_size: int, augment: Any) -> FastestThreads:
        batch_sizes.append(batch_size)
        return FastestThreads(2)

    monkeypatch.setattr(threads, "fastest_training_threads", fastest)
    return batch_sizes


def manifest(run: Path) -> Any:
    return json.loads((run / "manifest.json").read_text())


def job(out: Path, **settings: Any) -> Job:
    recipe = load_recipe("digits", {**AUTO, **settings})
    return new_jobs(recipe, {}, out=out, progress=False)[0]


def test_a_run_with_a_measured_number_equals_one_with_this_number(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    run = train("digits", out=tmp_path, progress=False, **AUTO)
    number = manifest(run.path)["threads"]
    fixed = train("digits", out=tmp_path, progress=False, **{**AUTO, "recipe.threads": number})
    assert run.metrics["sha256"] == fixed.metrics["sha256"]
    # The pictures show predictions of the trained weights.
    previews = [RunFolder(path).preview(2).read_bytes() for path in (run.path, fixed.path)]
    assert previews[0] == previews[1]
    assert load_recipe(run.path / "recipe.toml").recipe.threads == run.recipe.recipe.threads == "auto"
    assert torch.get_num_threads() == before


@pytest.mark.heavy
@pytest.mark.slow
def test_initial_weights_are_computed_with_the_measured_number(
    tmp_path: Path, measured: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers: list[int] = []

    def recorded_whiten(*arguments: Any) -> None:
        numbers.append(torch.get_num_threads())
        whiten(*arguments)

    monkeypatch.setattr("pellucid.recipe.build.whiten", recorded_whiten)
    run = train("digits", out=tmp_path, progress=False, **WHITENED)
    assert numbers[-1] == 2
    fixed = train("digits", out=tmp_path, progress=False, **{**WHITENED, "recipe.threads": 2})
    assert run.metrics["sha256"] == fixed.metrics["sha256"]
    assert manifest(run.path)["threads"] == manifest(fixed.path)["threads"] == 2
    assert measured == [run.recipe.train.batch_size]


def test_a_resumed_run_takes_the_recorded_number_and_ends_with_the_same_bits(
    tmp_path: Path, measured: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = job(tmp_path).train()
    interrupted = job(tmp_path)
    stop = StopAt(interrupted.recipe.train.epochs * 2)
    with pytest.raises(Stopped):
        Job(
            interrupted.recipe, interrupted.model, interrupted.material, interrupted.path, None, False, "", [stop]
        ).train()
    monkeypatch.setattr(threads, "fastest_training_threads", lambda *arguments: pytest.fail("measured again"))
    assert resume(interrupted.path, progress=False).metrics["sha256"] == whole.metrics["sha256"]
    folder = RunFolder(interrupted.path)
    assert manifest(folder.path)["threads"] == manifest(folder.path)["resumed"][0]["threads"] == 2
    state = SavedState.find(folder)
    assert state is not None
    assert [values for name, values in state.progress["callbacks"].items() if name.endswith("AutoThreads")] == [
        {"threads": 2, "first": 2}
    ]


@pytest.mark.parametrize("exact", [True, False])
def test_only_a_training_without_exactness_is_measured_again(tmp_path: Path, measured: list[int], exact: bool) -> None:
    begun = job(tmp_path, **{"distributed.exact": exact})
    callback = threads.auto_threads(begun.recipe, begun.model, begun.material, RunFolder(begun.path), None)
    assert callback.fastest.threads == 2
    assert (callback.measure is None) == exact


@pytest.mark.parametrize("key", ["train.accumulate", pytest.param("distributed.shards", marks=pytest.mark.long)])
def test_the_part_of_a_batch_that_is_computed_at_once_is_measured(
    tmp_path: Path, measured: list[int], key: str
) -> None:
    run = train("digits", out=tmp_path, progress=False, **{**AUTO, key: 3, "train.batch_size": 50})
    assert measured == [17]
    assert run.metrics["epochs"] == 2


def test_the_doctor_takes_the_recorded_number(tmp_path: Path, measured: list[int], monkeypatch: Any) -> None:
    run: Run = job(tmp_path).train()
    monkeypatch.setattr(threads, "fastest_training_threads", lambda *arguments: pytest.fail("measured again"))
    assert threads.recorded_threads(RunFolder(run.path)) == 2
    assert threads.recorded_threads(RunFolder(tmp_path / "none")) == 0
    case_of_run(run.path)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        ("fast", "recipe.threads takes a whole number or one of 'auto', not 'fast'"),
        (1.5, "recipe.threads takes a whole number or one of 'auto', not 1.5"),
        (-1, 'recipe.threads must be "auto", or a whole number from 0'),
        (1025, 'recipe.threads must be "auto", or a whole number from 0'),
    ],
)
def test_invalid_numbers_are_refused(number: object, message: str) -> None:
    with pytest.raises(PellucidError, match=message):
        load_recipe("digits", {"recipe.threads": number})


def test_many_processes_and_gpus_are_refused_before_a_folder_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PellucidError, match=r'recipe.threads: "auto" measures on the CPU, and the model is on cuda'):
        threads.check_auto_threads(load_recipe("digits", AUTO), torch.device("cuda"))
    threads.check_auto_threads(load_recipe("digits"), torch.device("cuda"))
    monkeypatch.setattr(threads, "processes", lambda: Processes(0, 2))
    with pytest.raises(PellucidError, match=r'recipe.threads: "auto" is for one process, .* such as recipe.threads=1'):
        job(tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("number", "over"), [("auto", {}), (0, {"recipe.threads": [1, "auto"]})])
def test_sweeps_are_refused(number: Any, over: dict[str, Any]) -> None:
    recipe = load_recipe("digits", {"recipe.threads": number, "data.validation": 0.1})
    with pytest.raises(PellucidError, match=r'recipe.threads: "auto" is for a single training'):
        make_plan(recipe, {"optimizer.lr": [0.1, 0.2], **over}, threads=1)


def test_a_damaged_record_is_refused(tmp_path: Path, measured: Callable[..., Any]) -> None:
    run = job(tmp_path).train()
    (run.path / "manifest.json").write_text(json.dumps({**manifest(run.path), "threads": "many"}))
    with pytest.raises(PellucidError, match=r"manifest.json: threads must be a whole number .*, not 'many'"):
        threads.recorded_threads(RunFolder(run.path))
