"""Killed workers, stopped launchers, and launchers that share only a folder: nothing is lost, nothing counts twice."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from pellucid.recipe.job import train
from pellucid.run.history import History
from tests.tuning.launched import Process, answer, finished, launch, workers

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the workers of a sweep in /proc")
SEARCH = ("--over", "optimizer.lr=1e-4..1e-1:log", "--over", "optimizer.name=sgd,adam")


def kill_at_random(process: Process, folder: Path, kills: int, runs: int) -> int:
    """Kill random workers at random moments by SIGKILL; return how many died before the last run was finished.

    Every second one is killed while all of them train, after a checkpoint; others perhaps as they start.
    """
    rng, killed = random.Random(0), 0
    while killed < kills and process.poll() is None:
        time.sleep(rng.uniform(0.2, 2.0))
        result, done = workers(process), finished(folder)
        training = {file.parents[1] for file in folder.glob("trials/*/seed-*/weights/last.safetensors")} - {*done}
        if not result or len(done) == runs or (killed % 2 == 0 and len(training) < min(len(result), runs - len(done))):
            continue
        os.kill(rng.choice(result), signal.SIGKILL)
        killed += 1
    return killed


@pytest.mark.long
@pytest.mark.parametrize(
    ("trials", "kills", "epochs"),
    [(6, 3, 400), (100, 20, 30)],
)
def test_killed_workers_neither_lose_nor_repeat_a_trial(tmp_path: Path, trials: int, kills: int, epochs: int):
    words = (*SEARCH, "--trials", str(trials), "--sampler", "random", "--jobs", "2", f"train.epochs={epochs}")
    process = launch(*words, "--out", "found", "train.checkpoint_seconds=0.05", folder=tmp_path)
    assert kill_at_random(process, tmp_path / "found", kills, trials) == kills
    results = answer(process)
    assert results["counts"] == {"complete": trials, "pruned": 0, "failed": 0, "unfinished": 0}
    assert [trial["number"] for trial in results["trials"]] == [*range(1, trials + 1)]
    runs = finished(tmp_path / "found")
    assert len(runs) == trials
    for run in runs:  # every epoch once, whoever trained it
        assert [row["epoch"] for row in History.read(run).rows] == [*range(1, epochs + 1)], run
    resumed = [run for run in runs if "resumed" in json.loads((run / "manifest.json").read_text())]
    assert resumed, "no kill has met a training with a checkpoint"
    settings = next(t["settings"] for t in results["trials"] if resumed[0].parent.name == f"{t['number']:04}")
    fixed = {"data.validation": 0.1, "data.limit": 300, "recipe.threads": 1, "train.epochs": epochs}
    alone = train("digits", out=tmp_path / "alone", progress=False, **fixed, **settings)
    assert json.loads((resumed[0] / "results.json").read_text())["sha256"] == alone.metrics["sha256"]


@pytest.mark.long
def test_two_launchers_that_share_only_the_folder_finish_one_search(tmp_path: Path):
    words = (*SEARCH, "--trials", "24", "--jobs", "1", "train.epochs=40", "--out", "found")
    first, second = launch(*words, folder=tmp_path), launch(*words, folder=tmp_path)
    one, other = answer(first), answer(second)
    assert one["trials"] == other["trials"]
    assert one["counts"]["complete"] == 24
    logs = list((tmp_path / "found" / "workers").iterdir())
    assert len({file.name.split("-")[-2] for file in logs}) == 2  # each launcher started a worker
    owners = {(run / "lock").read_text() for run in finished(tmp_path / "found")}
    assert len(owners) == 2  # and both workers trained


@pytest.mark.long
def test_ctrl_c_saves_every_run_and_says_how_to_go_on(tmp_path: Path):
    words = (*SEARCH, "--jobs", "2", "train.epochs=3000", "--out", "found")
    process = launch(*words, "train.checkpoint_seconds=1000", folder=tmp_path)
    pattern = "trials/*/seed-*/metrics.csv"
    end = time.monotonic() + 100
    while len([*(tmp_path / "found").glob(pattern)]) < 2 and time.monotonic() < end:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "pellucid sweep --resume found" in err
    saved = [*(tmp_path / "found").glob("trials/*/seed-*/weights/last.safetensors")]
    assert len(saved) == 2
    assert not finished(tmp_path / "found")


@pytest.mark.long
def test_a_launcher_that_is_killed_takes_its_workers_with_it(tmp_path: Path):
    process = launch(*SEARCH, "--jobs", "2", "train.epochs=100000", "--out", "found", folder=tmp_path)
    end = time.monotonic() + 100
    while not [*tmp_path.glob("found/trials/*/seed-*/metrics.csv")] and time.monotonic() < end:
        time.sleep(0.1)
    pids = workers(process)
    assert len(pids) == 2
    process.kill()
    process.communicate()
    while any(map(_lives, pids)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(map(_lives, pids))


def _lives(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
