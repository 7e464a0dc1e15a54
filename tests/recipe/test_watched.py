"""Watched training: pausing and single steps do not change the weights."""

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pellucid import Model
from pellucid.data import load
from pellucid.models import mlp
from pellucid.optim import SGD
from pellucid.recipe.job import train
from pellucid.recipe.watched import (
    Control,
    TrainingControl,
    control_file,
    live_file,
    read_control,
    read_object_or_empty,
    write_control,
)
from pellucid.training.callbacks import Callback, Training

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


class HalvedRate(Callback):
    """Train with half the learning rate."""

    def on_start(self, training: Training) -> None:
        training.lr_factor = 0.5


def fitted(run: Path, lr: float, epochs: int, *callbacks: Callback) -> Model:
    data = load("digits").train
    model = Model(mlp((64, 12, 10)), optimizer=SGD(lr), input_shape=(1, 8, 8))
    model.fit(data.x, data.y, epochs=epochs, batch_size=64, callbacks=callbacks, run=run, resume=True, verbose=False)
    return model


def test_a_factor_of_the_learning_rate_survives_resuming(tmp_path: Path) -> None:
    fitted(tmp_path / "halved", 0.1, 1, HalvedRate())
    resumed = fitted(tmp_path / "halved", 0.1, 3)
    assert resumed.sha256() == fitted(tmp_path / "plain", 0.05, 3).sha256()
    assert resumed.sha256() != fitted(tmp_path / "full", 0.1, 3).sha256()


def test_a_requested_rate_is_set_and_recorded(tmp_path: Path) -> None:
    fitted(tmp_path, 0.1, 1)
    training = Training(fitted(tmp_path, 0.1, 1), epochs=1, batches=4, batch_size=64, step=7)
    control = TrainingControl(tmp_path)
    control.on_start(training)
    for rate, expected in ((None, 1.0), (0.25, 0.25), (None, 0.25), (2.0, 2.0), (2.0, 2.0)):
        write_control(tmp_path, Control(rate=rate))
        os.utime(control_file(tmp_path), (time.time(), time.time() + expected))  # another time than before
        control.on_tick(training)
        assert training.lr_factor == expected
        assert read_object_or_empty(live_file(tmp_path))["lr_factor"] == expected
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["lr_changes"] == [{"step": 8, "factor": 0.25}, {"step": 8, "factor": 2.0}]
    assert manifest["seed"] == 0


@pytest.mark.parametrize("is_paused", [False, True])
def test_a_rate_that_is_changed_between_two_steps_is_shown_at_once(is_paused: bool, tmp_path: Path) -> None:
    """A paused training takes no step, by which the page would else learn of it."""
    training = Training(fitted(tmp_path, 0.1, 1), epochs=1, batches=4, batch_size=64, step=7)
    training.loss_count, training.losses = 64.0, {"loss": 32.0}
    control = TrainingControl(tmp_path)
    control.on_start(training)
    for number, rate in enumerate((None, 0.25, 0.25, 3.0)):
        write_control(tmp_path, Control(pause=is_paused, rate=rate))
        os.utime(control_file(tmp_path), (time.time(), time.time() + number))  # another time than before
        control.on_tick(training)
        assert read_object_or_empty(live_file(tmp_path))["lr_factor"] == (rate or 1.0)


@pytest.mark.parametrize("rate", ["0", "-1", "true", '"1"', "1e400", "1e9", "NaN", "[1]"])
def test_a_rate_that_is_no_factor_is_ignored(rate: str, tmp_path: Path) -> None:
    control_file(tmp_path).write_text(f'{{"pause": true, "steps": 0, "rate": {rate}}}')
    assert read_control(tmp_path).rate is None


@pytest.mark.parametrize("text", ["", "[]", "{", '{"pause": 1, "steps": -3}', '{"pause": null, "steps": "x"}', "\0"])
def test_a_damaged_control_file_is_ignored(text: str, tmp_path: Path) -> None:
    assert read_control(tmp_path) == Control()
    control_file(tmp_path).write_text(text)
    assert read_control(tmp_path) == Control()
    control_file(tmp_path).write_text(json.dumps({"pause": True, "steps": 2}))
    assert read_control(tmp_path) == Control(True, 2)
