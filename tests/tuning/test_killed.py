"""Killed workers, stopped launchers, and launchers that share only a folder: each trial is finished exactly once."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from pellucid.recipe.job import train
from pellucid.run.history import History
from tests.tuning.sweep_processes import Process, finished_runs, launch, wait_for_results, worker_pids

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the workers of a sweep in /proc")
SEARCH_WORDS = ("--over", "optimizer.lr=1e-4..1e-1:log", "--over", "optimizer.name=sgd,adam")


def kill_at_random(process: Process, folder: Path, kills: int, runs: int) -> int:
    """Kill random workers at random times by SIGKILL; return the number of kills before the last run was finished.

    Every second kill waits until all workers train and have checkpoints; the others may hit a starting worker.
    """
    rng, n_killed = random.Random(0), 0
    while n_killed < kills and process.poll() is None:
        time.sleep(rng.uniform(0.2, 2.0))
        pids, finished_paths = worker_pids(process), finished_runs(folder)
        training = {file.parents[1] for file in folder.glob("trials/*/seed-*/weights/last.safetensors")}
        training -= {*finished_paths}
        n_unfinished = runs - len(finished_paths)
        if not pids or n_unfinished == 0 or (n_killed % 2 == 0 and len(training) < min(len(pids), n_unfinished)):
            continue
        os.kill(rng.choice(pids), signal.SIGKILL)
        n_killed += 1
    return n_killed


@pytest.mark.long
@pytest.mark.parametrize(
    ("trials", "kills", "epochs"),
    [(6, 3, 400), (100, 20, 30)],
)
def test_killed_workers_neither_lose_nor_repeat_a_trial(tmp_path: Path, trials: int, kills: int, epochs: int):
    words = (*SEARCH_WORDS, "--trials", str(trials), "--sampler", "random", "--jobs", "2", f"train.epochs={epochs}")
    process = launch(*words, "--out", "found", "train.checkpoint_seconds=0.05", folder=tmp_path)
    assert kill_at_random(process, tmp_path / "found", kills, trials) == kills
    results = wait_for_results(process)
    assert results["counts"] == {"complete": trials, "pruned": 0, "failed": 0, "unfinished": 0}
    assert [trial["number"] for trial in results["trials"]] == [*range(1, trials + 1)]
    runs = finished_runs(tmp_path / "found")
    assert len(runs) == trials
    for run in runs:  # each epoch once, even if several workers trained the run
        assert [row["epoch"] for row in History.read(run).rows] == [*range(1, epochs + 1)], run
    resumed_runs = [run for run in runs if "resumed" in json.loads((run / "manifest.json").read_text())]
    assert resumed_runs, "no kill has met a training with a checkpoint"
    settings = next(t["settings"] for t in results["trials"] if resumed_runs[0].parent.name == f"{t['number']:04}")
    fixed_settings = {"data.validation": 0.1, "data.limit": 300, "recipe.threads": 1, "train.epochs": epochs}
    uninterrupted = train("digits", out=tmp_path / "alone", progress=False, **fixed_settings, **settings)
    assert json.loads((resumed_runs[0] / "results.json").read_text())["sha256"] == uninterrupted.metrics["sha256"]


@pytest.mark.long
def test_two_launchers_that_share_only_the_folder_finish_one_search(tmp_path: Path):
    words = (*SEARCH_WORDS, "--trials", "24", "--jobs", "1", "train.epochs=40", "--out", "found")
    first_launcher, second_launcher = launch(*words, folder=tmp_path), launch(*words, folder=tmp_path)
    first_results, second_results = wait_for_results(first_launcher), wait_for_results(second_launcher)
    assert first_results["trials"] == second_results["trials"]
    assert first_results["counts"]["complete"] == 24
    logs = list((tmp_path / "found" / "workers").iterdir())
    assert len({file.name.split("-")[-2] for file in logs}) == 2  # each launcher started a worker
    owners = {(run / "lock").read_text() for run in finished_runs(tmp_path / "found")}
    assert len(owners) == 2  # both workers trained


@pytest.mark.long
def test_ctrl_c_saves_every_run_and_prints_how_to_resume(tmp_path: Path):
    words = (*SEARCH_WORDS, "--jobs", "2", "train.epochs=3000", "--out", "found")
    process = launch(*words, "train.checkpoint_seconds=1000", folder=tmp_path)
    pattern = "trials/*/seed-*/metrics.csv"
    deadline = time.monotonic() + 100
    while len([*(tmp_path / "found").glob(pattern)]) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "pellucid sweep --resume found" in err
    checkpoints = [*(tmp_path / "found").glob("trials/*/seed-*/weights/last.safetensors")]
    assert len(checkpoints) == 2
    assert not finished_runs(tmp_path / "found")


@pytest.mark.long
def test_the_workers_of_a_killed_launcher_end(tmp_path: Path):
    process = launch(*SEARCH_WORDS, "--jobs", "2", "train.epochs=100000", "--out", "found", folder=tmp_path)
    deadline = time.monotonic() + 100
    while not [*tmp_path.glob("found/trials/*/seed-*/metrics.csv")] and time.monotonic() < deadline:
        time.sleep(0.1)
    pids = worker_pids(process)
    assert len(pids) == 2
    process.kill()
    process.communicate()
    while any(map(_is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(_is_alive, pids))


def _is_alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
