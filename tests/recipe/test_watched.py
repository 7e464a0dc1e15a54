"""Watched training: pausing and single steps do not change the weights."""

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pellucid.recipe.job import train
from pellucid.recipe.watched import Control, control_file, live_file, read_object_or_empty, write_control

DIGITS_SETTINGS: dict[str, Any] = {"train.epochs": 40, "optimizer.name": "sgd", "optimizer.lr": 0.1, "recipe.seed": 3}


def wait_for(get_value: Callable[[], Any]) -> Any:
    """Return the first true value of `get_value`; fail after 20 seconds."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if value := get_value():
            return value
        time.sleep(0.01)
    raise AssertionError("it did not come")


class PausingWatcher(threading.Thread):
    """Pause a training when it starts, run 1, 2 and 3 single steps, and continue it; `seen` has the live states."""

    def __init__(self, run: Path) -> None:
        super().__init__(daemon=True)
        self.run_folder, self.seen = run, list[dict[str, Any]]()

    def paused_state(self, after: int) -> dict[str, Any] | None:
        settings = read_object_or_empty(live_file(self.run_folder))
        return settings if settings.get("paused") and settings["step"] > after else None

    def run(self) -> None:
        wait_for((self.run_folder / "lock").exists)
        while not live_file(self.run_folder).exists():  # on_start deletes earlier control files
            write_control(self.run_folder, Control(pause=True))
            time.sleep(0.02)
        self.seen.append(wait_for(lambda: self.paused_state(0)))
        for steps in (1, 2, 3):
            write_control(self.run_folder, Control(pause=True, steps=steps))
            self.seen.append(wait_for(lambda: self.paused_state(self.seen[-1]["step"])))
        time.sleep(0.3)
        self.seen.append(read_object_or_empty(live_file(self.run_folder)))
        write_control(self.run_folder, Control())


@pytest.mark.heavy
@pytest.mark.slow
def test_a_training_pauses_and_runs_single_steps(tmp_path: Path) -> None:
    unwatched = train("digits", out=tmp_path / "plain", progress=False, **DIGITS_SETTINGS)
    watcher = PausingWatcher(tmp_path / "watched" / "digits-1")
    watcher.start()
    start_time = time.perf_counter()
    watched = train("digits", out=tmp_path / "watched", progress=False, **DIGITS_SETTINGS)
    watcher.join()
    assert watched.metrics["sha256"] == unwatched.metrics["sha256"]
    assert watched.metrics["seconds"] < time.perf_counter() - start_time - 0.3  # the time does not include the pause
    first, *steps, last = watcher.seen
    assert [step["step"] - first["step"] for step in steps] == [1, 2, 3]
    assert last == steps[-1]
    assert first["pid"] == os.getpid()
    assert {row["path"] for row in last["layers"]} == {row["path"] for row in layer_rows(watched.path)}
    assert not control_file(watched.path).exists()
    assert not live_file(watched.path).exists()


def layer_rows(run: Path) -> list[dict[str, Any]]:
    from pellucid.run.history import History

    return History.read(run).layers


@pytest.mark.parametrize("text", ["", "[]", "{", '{"pause": 1, "steps": -3}', '{"pause": null, "steps": "x"}', "\0"])
def test_a_damaged_control_file_is_ignored(text: str, tmp_path: Path) -> None:
    from pellucid.recipe.watched import read_control

    assert read_control(tmp_path) == Control()
    control_file(tmp_path).write_text(text)
    assert read_control(tmp_path) == Control()
    control_file(tmp_path).write_text(json.dumps({"pause": True, "steps": 2}))
    assert read_control(tmp_path) == Control(True, 2)
