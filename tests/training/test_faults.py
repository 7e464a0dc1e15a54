"""Faults in one of several processes: all processes stop, the error names the process, and the run can be resumed."""

import re
import time

import pytest

from pellucid.run.folder import RunFolder
from pellucid.training.diagnose import StoppedError
from tests.forked import run_forked, run_group
from tests.training import sharded_faults

pytestmark = pytest.mark.slow


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("hung", r"ended or does not answer .*(Timed out|timeout)"),
        ("SIGKILL", "ended or does not answer"),
        ("raised", "ended or does not answer"),
    ],
)
def test_a_lost_process_is_named_with_its_host_and_the_step(fault, reason):
    first, second = run_group(2, sharded_faults.train, fault)
    # Batches are prefetched, so the fault can be reported some steps earlier.
    assert re.search(rf"training stopped in step [1-3]: process 1 on \S+ {reason}", first.error), first.error
    assert "last checkpoint" in first.error
    assert fault != "raised" or "PellucidError: no such augmentation" in second.error


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        # The second process has every second example, beginning with example 1.
        ("nan", "the input x contains NaN .* first in example 1 of the batch"),
        ("overflow", r"features.dense1 \(Dense\): the output y contains infinity .* first in example 1 of the batch"),
    ],
)
def test_nan_in_one_process_stops_all_with_the_same_message(fault, message, tmp_path):
    first, second = run_group(2, sharded_faults.train, fault, tmp_path)
    pattern = rf"training stopped in step 3 \(epoch 1, batch 3\) in process 1: {message}"
    assert re.search(pattern, first.error), first.error
    text = second.error.splitlines()[-1].partition(": ")[2]
    stopped = StoppedError.read(RunFolder(tmp_path).error)
    assert str(stopped).startswith(text)  # the first process adds the last checkpoint, if there is one
    assert f"{stopped.fault}" in text


LIBRARIES = ["PyTorch", "Pellucid", "NumPy", "Pillow"]


@pytest.mark.parametrize(
    "difference",
    ["seed", "data", "clipping", "batch size", "bucket_mb", "shard_optimizer", "number of threads"]
    + [f"version of {name}" for name in LIBRARIES],
)
def test_processes_with_different_settings_are_refused_and_named(difference):
    for _, _, error in run_group(2, sharded_faults.train_otherwise, difference):
        pattern = (
            rf"process 1 on \S+ differs from process 0 in: {difference} \(\S+ instead of \S+\); give all processes"
        )
        assert re.search(pattern, error), error


@pytest.mark.parametrize(
    ("shards", "faulty_rate", "message"),
    [
        (2, 0.2, r"process 1 on \S+ differs from process 0 in: optimizer\.lr \(0\.2 instead of 0\.1\); give all"),
        (1, 0.1, "2 processes share 1 shard; start at most as many processes"),
    ],
)
def test_processes_with_different_recipes_leave_no_run_folder(tmp_path, shards, faulty_rate, message):
    for _, _, error in run_group(2, sharded_faults.train_recipe, tmp_path / "runs", shards, faulty_rate):
        assert re.search(message, error), error
    assert not (tmp_path / "runs").exists()


@pytest.mark.heavy
@pytest.mark.parametrize(
    "point",
    [
        "",
        "pellucid.training.distributed:_connect",
        "pellucid.recipe.job:fetch_missing",
        "pellucid.recipe.job:data_in_task_format",
        "pellucid.recipe.build:build_model",
        "pellucid.recipe.job:_make_folders",
    ],
)
def test_a_process_that_is_stopped_before_the_run_folder_exists_ends_the_others_in_time(point, tmp_path):
    """The recipe allows 3 seconds; without a recipe, it would be half an hour."""
    start = time.monotonic()
    first, _ = run_group(2, sharded_faults.train_and_stop_early, tmp_path / "runs", point)
    assert time.monotonic() - start < 60
    assert re.search(r"(process 1 on \S+ ended or does not answer|the processes cannot be connected)", first.error)
    assert not (tmp_path / "runs").exists()


def test_the_history_has_the_slowest_process_and_the_waiting_time():
    (_, row, error), _ = run_group(2, sharded_faults.train, "slow")
    assert row["slowest_process"] == 1, error
    assert 0.4 <= row["wait_seconds"] < 5  # the second process sleeps for half a second


@pytest.mark.heavy
@pytest.mark.parametrize("fault", ["SIGTERM", "SIGINT"])
def test_a_signal_to_one_process_stops_all_with_one_checkpoint(tmp_path, fault):
    _, expected = run_forked(sharded_faults.train_interrupted, tmp_path / "whole", "")
    (_, first, error), (_, second, _) = run_group(2, sharded_faults.train_interrupted, tmp_path / "run", fault)
    assert re.fullmatch(r"stopped in epoch 2 after step [6-9]", second), error
    assert first.startswith(f"{second}; saved in {tmp_path / 'run'}; resume with")
    assert run_forked(sharded_faults.train_interrupted, tmp_path / "run", "") == (0, expected)  # resumed by one process


@pytest.mark.heavy
def test_processes_resume_from_the_checkpoint_before_a_half_written_one(tmp_path):
    _, expected = run_forked(sharded_faults.train_interrupted, tmp_path / "whole", "")
    run_group(2, sharded_faults.train_interrupted, tmp_path / "run", "SIGTERM")
    last = tmp_path / "run" / "weights" / "last.safetensors"
    last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])
    for code, result, error in run_group(2, sharded_faults.train_interrupted, tmp_path / "run", ""):
        assert (code, result) == (0, expected), error


@pytest.mark.heavy
def test_only_the_first_process_writes_to_the_disk(tmp_path):
    (code, first, error), (other, second, _) = run_group(2, sharded_faults.changed_files, tmp_path / "runs")
    assert (code, other) == (0, 0), error
    assert any(line.endswith("last.safetensors") or "report.html" in line for line in first)
    assert second == []
