"""Real launches of `pellucid train`: several at once on one run folder, and NaN in one process of torchrun."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pellucid.recipe.recipe import load_recipe
from pellucid.recipe.resume import resume
from pellucid.run.folder import RunFolder
from pellucid.run.history import History
from pellucid.training.diagnose import StoppedError

pytestmark = [pytest.mark.slow, pytest.mark.heavy]
ROOT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 240
ALONE = (sys.executable, "-m", "pellucid", "train")
TWO_PROCESSES = (
    *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
    *("-m", "pellucid", "train"),
)
# A file for --custom: in the second process, the third batch of a training contains NaN.
NAN_IN_ONE_PROCESS = """
from pellucid.recipe import job
from tests.training.sharded_faults import FaultyAugmentation
from pellucid.data import loader
loader.WORKERS = 1
job.augmentation = lambda recipe, material: FaultyAugmentation("nan")
"""

# A file for --custom: a tenth of the rate is requested in the first epoch, and read at its end.
TENTH_OF_THE_RATE = """
from pellucid.recipe.watched import Control, TrainingControl
TrainingControl.on_tick = lambda self, training: setattr(self, "control", Control(rate=0.1))
"""


def launch(*words: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def ends(processes: "list[subprocess.Popen[str]]") -> list[tuple[int, str]]:
    """Wait for processes; return their exit codes and what they wrote to stderr."""
    errors = [process.communicate(timeout=TIMEOUT_SECONDS)[1] for process in processes]
    return [(process.returncode, error) for process, error in zip(processes, errors, strict=True)]


def begin(path: Path, **settings: object) -> Path:
    """Write a run folder with only a recipe."""
    path.mkdir()
    recipe = load_recipe("digits", {key.replace("__", "."): value for key, value in settings.items()})
    (path / "recipe.toml").write_text(recipe.to_toml())
    return path


@pytest.mark.parametrize(("count", "command", "epochs"), [(3, ALONE, 400), (2, TWO_PROCESSES, 60)])
def test_one_of_several_launches_trains_in_a_folder_and_the_others_are_refused(
    count: int, command: tuple[str, ...], epochs: int, tmp_path: Path
):
    run = begin(tmp_path / "run", train__epochs=epochs)
    results = ends([launch(*command, "--resume", run) for _ in range(count)])
    refused = [error for code, error in results if code != 0]
    assert len(refused) == count - 1
    for error in refused:
        assert re.search(rf"^pellucid: {run} is in use by process \d+; wait for it", error, re.MULTILINE), error
    assert len(History.read(run)) == epochs
    results = json.loads((run / "results.json").read_text())
    assert resume(run, progress=False).metrics == results
    assert not list(run.rglob(".*.tmp"))


def test_one_of_several_extensions_at_once_takes_place(tmp_path: Path):
    run = begin(tmp_path / "run", train__epochs=1)
    resume(run, progress=False)
    all_epochs = [300, 350, 400]
    results = ends([launch(*ALONE, "--resume", run, f"train.epochs={epochs}") for epochs in all_epochs])
    (epochs,) = [epochs for epochs, (code, _) in zip(all_epochs, results, strict=True) if code == 0]
    assert load_recipe(run).train.epochs == epochs == len(History.read(run))


def test_launches_at_once_into_one_folder_of_runs_train_in_a_folder_each(tmp_path: Path):
    words = ("digits", "train.epochs=2", "--out", tmp_path / "runs")
    assert [code for code, _ in ends([launch(*ALONE, *words) for _ in range(3)])] == [0, 0, 0]
    runs = sorted((tmp_path / "runs").iterdir())
    assert [run.name for run in runs] == ["digits-1", "digits-2", "digits-3"]
    assert len({json.loads((run / "results.json").read_text())["sha256"] for run in runs}) == 1


def test_nan_in_one_process_ends_a_launch_with_its_cause(tmp_path: Path):
    custom = tmp_path / "nan.py"
    custom.write_text(NAN_IN_ONE_PROCESS)
    words = ("--custom", custom, "digits", "train.epochs=2", "--out", tmp_path / "runs")
    ((code, error),) = ends([launch(*TWO_PROCESSES, *words)])
    cause = r"training stopped in step 3 \(epoch 1, batch 3\) in process 1: the input x contains NaN"
    assert code == 1  # of torchrun
    assert re.search(rf"^pellucid: {cause}", error, re.MULTILINE), error
    assert "Traceback" not in error.partition("torch/distributed")[0]
    stopped = StoppedError.read(RunFolder(tmp_path / "runs/digits-1").error)
    assert stopped is not None
    assert re.match(cause, str(stopped))


def test_a_requested_rate_holds_in_all_processes_from_the_next_epoch_on(tmp_path: Path):
    custom = tmp_path / "rate.py"
    custom.write_text(TENTH_OF_THE_RATE)
    words = ("digits", "train.epochs=3", "distributed.shards=2", "--out")
    for name, command in (("one", ALONE), ("two", TWO_PROCESSES)):
        ((code, error),) = ends([launch(*command, "--custom", custom, *words, tmp_path / name)])
        assert code == 0, error
    ((code, error),) = ends([launch(*ALONE, *words, tmp_path / "plain")])
    assert code == 0, error
    one, two, plain = (RunFolder(tmp_path / name / "digits-1") for name in ("one", "two", "plain"))
    rates = [[row["lr"] for row in History.read(run.path).rows] for run in (two, plain)]
    assert rates[0] == pytest.approx([rates[1][0], 0.1 * rates[1][1], 0.1 * rates[1][2]])
    assert two.read_manifest()["lr_changes"] == [{"step": 46, "factor": 0.1}]  # 45 steps are an epoch
    hashes = [json.loads((run.path / "results.json").read_text())["sha256"] for run in (one, two, plain)]
    assert hashes[0] == hashes[1] != hashes[2]  # a process with another rate would have other weights
