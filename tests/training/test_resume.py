"""Exact resumption: however a training ended, resuming gives the same bits as training without interruption."""

import csv
import json
import os
import shutil
import signal
from functools import cache

import pytest
import torch

from pellucid.base import files
from pellucid.base.errors import PellucidError
from pellucid.model import Model
from pellucid.optim import SGD
from pellucid.optim.schedules import Constant, Cosine, InverseTime, OneCycle, ReduceOnPlateau, Step, Warmup
from pellucid.run import weights
from pellucid.run.folder import RunFolder
from pellucid.run.history import read_csv
from pellucid.training import checkpoint, device, loop
from pellucid.training.callbacks import Callback, EarlyStopping
from pellucid.training.process import stop_exception
from tests.training import killed
from tests.training.small import StopAt, Stopped, digits, flip, small_conv, small_mlp

TIME_COLUMNS = ("seconds", "images_per_second")  # measured times, which differ between runs


def train(model, run, resume=False, callbacks=(), data=None, **options):
    settings = {"epochs": 4, "batch_size": 30, "validation": digits(300, 350), "augment": flip, **options}
    return model.fit(data or digits(), run=run, resume=resume, callbacks=callbacks, verbose=False, **settings)


def without_times(path):
    with path.open(newline="") as file:
        return [{name: text for name, text in row.items() if name not in TIME_COLUMNS} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Return a function that trains a model once without interruption; its results: run folder, hash and history."""

    @cache
    def train_uninterrupted(make):
        run, model = tmp_path_factory.mktemp("whole"), make()
        history = train(model, run, checkpoint_seconds=0.0)
        return run, model.sha256(), history

    return train_uninterrupted


@pytest.mark.slow
@pytest.mark.parametrize("make", [small_mlp, small_conv])
@pytest.mark.parametrize("step", [1, 10, 13, 29, 40])
def test_a_training_ended_by_an_error_is_resumed_exactly(tmp_path, uninterrupted, make, step):
    interrupted, resumed = make(), make()
    run, sha256, expected = uninterrupted(make)
    with pytest.raises(Stopped):
        train(interrupted, tmp_path / "run", callbacks=[StopAt(step)], checkpoint_seconds=0.0)
    history = train(resumed, tmp_path / "run", resume=True, callbacks=[StopAt(-1)], checkpoint_seconds=0.0)
    assert resumed.sha256() == sha256
    for name in ("metrics.csv", "layers.csv"):
        assert without_times(tmp_path / "run" / name) == without_times(run / name)
    assert history.layers == expected.layers
    for name in ("best", "last"):
        weights = [
            Model.load(folder / "weights" / f"{name}.safetensors").sha256() for folder in (tmp_path / "run", run)
        ]
        assert weights[0] == weights[1]


def test_a_training_is_resumed_from_a_checkpoint_inside_an_epoch(tmp_path, uninterrupted, monkeypatch):
    monkeypatch.setattr(loop, "TICK", 0.0)
    with pytest.raises(Stopped):
        train(small_conv(), tmp_path, callbacks=[StopAt(17)], checkpoint_seconds=0.0)
    state = checkpoint.SavedState(RunFolder(tmp_path).last)
    assert (state.progress["step"], state.progress["epoch"], state.progress["batch"]) == (16, 1, 6)
    resumed = small_conv()
    train(resumed, tmp_path, resume=True, callbacks=[StopAt(-1)])
    assert resumed.sha256() == uninterrupted(small_conv)[1]


def test_early_stopping_restores_its_best_value_when_resumed(tmp_path):
    def options():
        return {
            "callbacks": [EarlyStopping(2, "val_loss"), StopAt(stop_step)],
            "epochs": 60,
            "augment": None,
            "batch_size": 10,
        }

    stop_step = -1
    uninterrupted, interrupted, resumed = (Model(small_mlp().net, optimizer=SGD(3.0)) for _ in range(3))
    history = train(uninterrupted, tmp_path / "whole", **options())
    assert 3 < len(history) < 60
    stop_step = 30 * len(history) - 5  # in the last epoch, so the best weights are older than the checkpoint
    with pytest.raises(Stopped):
        train(interrupted, tmp_path / "run", **options())
    stop_step = -1
    resumed_history = train(resumed, tmp_path / "run", resume=True, **options())
    assert resumed.sha256() == uninterrupted.sha256()
    assert resumed_history["val_loss"] == history["val_loss"]


def test_resuming_a_finished_training_changes_nothing(tmp_path):
    finished, resumed = small_mlp(), small_mlp()
    history = train(finished, tmp_path)
    before = (tmp_path / "metrics.csv").read_text()
    assert train(resumed, tmp_path, resume=True) == history
    assert resumed.sha256() == finished.sha256()
    assert (tmp_path / "metrics.csv").read_text() == before


def test_a_run_that_was_killed_before_its_first_checkpoint_restarts(tmp_path, uninterrupted):
    with pytest.raises(Stopped):
        train(small_mlp(), tmp_path, callbacks=[StopAt(3)])
    assert not RunFolder(tmp_path).last.exists()
    resumed = small_mlp()
    train(resumed, tmp_path, resume=True)
    assert resumed.sha256() == uninterrupted(small_mlp)[1]


def test_a_run_without_a_checkpoint_restarts_with_other_data_and_notes_it(tmp_path, capsys):
    with pytest.raises(Stopped):
        train(small_mlp(), tmp_path, callbacks=[StopAt(3)])
    first_data = RunFolder(tmp_path).read_manifest()["data"]
    with pytest.raises(Stopped):
        train(small_mlp(), tmp_path, resume=True, callbacks=[StopAt(3)])
    assert "the data differ" not in capsys.readouterr().err
    other = digits(0, 200)
    train(small_mlp(), tmp_path, resume=True, data=other)
    expected_note = (
        f"pellucid: the data differ from those with which {tmp_path} was begun, which has no checkpoint; it is trained "
        "on the data as they are now"
    )
    assert expected_note in capsys.readouterr().err.splitlines()
    assert RunFolder(tmp_path).read_manifest()["data"] == {**first_data, "train": other.checksum}


def test_a_folder_that_contains_a_training_is_not_overwritten(uninterrupted):
    with pytest.raises(PellucidError, match="has a training already; resume it, or choose another run folder"):
        train(small_mlp(), uninterrupted(small_mlp)[0])


CHANGED_SETTINGS = {
    "batch size": (small_mlp, {"batch_size": 31}),
    "number of epochs": (small_mlp, {"epochs": 3}),  # fewer than were trained; more epochs would extend the training
    "training data": (small_mlp, {"data": digits(1, 301)}),
    "validation data": (small_mlp, {"validation": digits(300, 351)}),
    "augmentation": (small_mlp, {"augment": None}),
    "seed": (lambda: small_mlp(seed=1), {}),
    "clipping": (lambda: small_mlp(clip=1.0), {}),
    "optimizer": (lambda: Model(small_mlp().net, optimizer=SGD(0.6)), {}),
    "network, optimizer, schedule": (small_conv, {}),
}


@pytest.mark.parametrize("message", CHANGED_SETTINGS)
def test_resuming_with_other_settings_is_refused_and_names_them(uninterrupted, message):
    make, options = CHANGED_SETTINGS[message]
    with pytest.raises(PellucidError, match=f"was begun with other settings: {message}; resume with the same"):
        train(make(), uninterrupted(small_mlp)[0], resume=True, **options)


def test_resuming_with_other_callbacks_is_refused(uninterrupted):
    with pytest.raises(PellucidError, match="with the callbacks 0-Checkpoint, not 0-EarlyStopping, 1-Checkpoint;"):
        train(small_mlp(), uninterrupted(small_mlp)[0], resume=True, callbacks=[EarlyStopping(3)])


def test_stateless_callbacks_may_differ_on_resume(tmp_path, uninterrupted):
    resumed = small_mlp()
    with pytest.raises(Stopped):
        train(small_mlp(), tmp_path, callbacks=[Callback(), StopAt(13)])
    options = {"epochs": 4, "batch_size": 30, "validation": digits(300, 350), "augment": flip, "verbose": True}
    resumed.fit(digits(), run=tmp_path, resume=True, **options)
    assert resumed.sha256() == uninterrupted(small_mlp)[1]


SCHEDULES = [
    Constant(),
    InverseTime(5, 5),
    Step(every=1),
    Cosine(),
    OneCycle(),
    Warmup(5),
    Warmup(5, ReduceOnPlateau(patience=0)),
    ReduceOnPlateau(drop=0.5, patience=0),
]


@pytest.mark.slow
@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_every_schedule_is_resumed_from_within_an_epoch(tmp_path, monkeypatch, schedule):
    monkeypatch.setattr(loop, "TICK", 0.0)
    uninterrupted = Model(small_mlp().net, optimizer=SGD(2.0), schedule=schedule)
    expected = train(uninterrupted, None)
    for step in (3, 23):  # before the end of the first epoch, when the schedule has no loss yet, and later
        run, (interrupted, resumed) = (
            tmp_path / str(step),
            (Model(uninterrupted.net, optimizer=SGD(2.0), schedule=schedule) for _ in range(2)),
        )
        with pytest.raises(Stopped):
            train(interrupted, run, callbacks=[StopAt(step)], checkpoint_seconds=0.0)
        assert checkpoint.SavedState(RunFolder(run).last).progress["step"] == step - 1
        history = train(resumed, run, resume=True, callbacks=[StopAt(-1)])
        assert resumed.sha256() == uninterrupted.sha256()
        assert history["lr"] == expected["lr"]


def test_another_precision_is_refused_even_if_the_processor_causes_it(tmp_path, monkeypatch):
    monkeypatch.setattr(device.torch.cpu, "get_capabilities", dict)
    train(small_mlp(precision="bf16"), tmp_path)
    assert RunFolder(tmp_path).read_manifest()["precision"] == "float32"
    train(small_mlp(), tmp_path, resume=True)
    monkeypatch.setattr(device.torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    with pytest.raises(PellucidError, match="was begun with other settings: precision"):
        train(small_mlp(precision="bf16"), tmp_path, resume=True)


def test_weights_without_optimizer_state_cannot_be_resumed(tmp_path, uninterrupted):
    folder = RunFolder(shutil.copytree(uninterrupted(small_mlp)[0], tmp_path / "run"))
    folder.last.write_bytes(folder.best.read_bytes())
    with pytest.raises(PellucidError, match="contains only weights, no training to resume"):
        train(small_mlp(), folder.path, resume=True)


class SendSignal(Callback):
    """Sends SIGINT (as Ctrl-C does) or another signal to this process after a step."""

    def __init__(self, step, signal_number):
        self.step, self.signal_number = step, signal_number

    def on_step(self, training):
        if training.step == self.step:
            os.kill(os.getpid(), self.signal_number)


@pytest.mark.parametrize("step", [13, 20])  # within an epoch, and at the end of one
@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_after_the_step_and_prints_how_to_resume(tmp_path, uninterrupted, signal_number, step):
    handler = signal.getsignal(signal_number)
    with pytest.raises(KeyboardInterrupt) as caught:
        train(small_conv(), tmp_path, callbacks=[SendSignal(step, signal_number)])
    epoch = 2 if step == 13 else 3
    assert str(caught.value) == (
        f"stopped in epoch {epoch} after step {step}; saved in {tmp_path}; resume with the same fit with resume=True"
    )
    assert signal.getsignal(signal_number) is handler
    resumed = small_conv()
    train(resumed, tmp_path, resume=True, callbacks=[SendSignal(-1, signal_number)])
    assert resumed.sha256() == uninterrupted(small_conv)[1]


def test_ctrl_c_in_the_last_step_saves_the_training(tmp_path, uninterrupted):
    interrupted, resumed = small_conv(), small_conv()
    with pytest.raises(KeyboardInterrupt, match="stopped after the last step, 40; saved in"):
        train(interrupted, tmp_path, callbacks=[SendSignal(40, signal.SIGINT)])
    train(resumed, tmp_path, resume=True, callbacks=[SendSignal(-1, signal.SIGINT)])
    assert resumed.sha256() == uninterrupted(small_conv)[1]


def test_ctrl_c_in_a_recipe_run_names_the_command_to_resume(tmp_path):
    (tmp_path / "recipe.toml").write_text("")
    with pytest.raises(KeyboardInterrupt, match=f"resume with pellucid train --resume {tmp_path}$"):
        train(small_mlp(), tmp_path, callbacks=[SendSignal(3, signal.SIGINT)])
    message = str(stop_exception(RunFolder(tmp_path), "after step 3", process_count=2))
    assert message.endswith(f"resume with torchrun ... -m pellucid train --resume {tmp_path}")


def test_a_second_ctrl_c_stops_immediately(tmp_path):
    class SendSignalTwice(SendSignal):
        def on_step(self, training):
            super().on_step(training)
            super().on_step(training)

    with pytest.raises(KeyboardInterrupt, match="stopped at once"):
        train(small_mlp(), tmp_path, callbacks=[SendSignalTwice(3, signal.SIGINT)])


@pytest.mark.heavy
@pytest.mark.slow
def test_a_training_killed_four_times_is_resumed_exactly(tmp_path):
    """SIGKILL ends four processes, each after more checkpoints than the previous one; the final weights are equal."""
    expected = killed.train(tmp_path / "whole")
    actual, steps = killed.killed_and_resumed(killed.train, tmp_path / "run")
    assert actual == expected
    assert steps == sorted(set(steps))  # each process reached a later step than the previous one
    rows = read_csv(tmp_path / "run" / "metrics.csv")
    assert [row["epoch"] for row in rows] == list(range(1, killed.EPOCHS + 1))
    assert not list((tmp_path / "run").rglob(".*.tmp"))


@pytest.mark.slow
def test_a_training_killed_inside_any_write_is_resumed_exactly(tmp_path, monkeypatch):
    """The process ends before each write of a file, with the file half written, and before it is renamed."""
    uninterrupted = small_mlp()
    train(uninterrupted, tmp_path / "whole", epochs=2)

    class KilledError(BaseException):
        pass

    real_replace, call_count, fatal_call = files.Path.replace, [0], [0]

    def replace_or_die(self, target):
        call_count[0] += 1
        if call_count[0] == fatal_call[0] and self.stat().st_nlink > 1:  # a hard link to a complete file
            raise KilledError
        if call_count[0] == fatal_call[0]:
            data = self.read_bytes()
            self.write_bytes(data[: len(data) // 2])
            raise KilledError
        return real_replace(self, target)

    monkeypatch.setattr(files.Path, "replace", replace_or_die)
    kill_count = 0
    for index in range(1, 50):
        call_count[0], fatal_call[0], run = 0, index, tmp_path / f"run{index}"
        try:
            train(small_mlp(), run, epochs=2)
        except KilledError:
            kill_count += 1
        else:
            break
        fatal_call[0] = 0
        resumed = small_mlp()
        train(resumed, run, resume=True, epochs=2)
        assert resumed.sha256() == uninterrupted.sha256()
        assert without_times(run / "metrics.csv") == without_times(tmp_path / "whole" / "metrics.csv")
        assert not list(run.rglob(".*.tmp"))
    assert kill_count >= 5  # at least the manifest, two CSV files, and the best and last weights


def test_a_history_longer_than_the_header_limit_is_written_and_resumed(tmp_path, monkeypatch):
    """Long trainings of deep networks have more bytes of layers.csv than a header may have."""
    monkeypatch.setattr(weights, "MAX_WEIGHTS_HEADER_BYTES", 1 << 20)

    class AddRows(Callback):
        def on_start(self, training):
            if not training.history.layers:
                row = {"epoch": 0, "path": "dense.weight", "grad_norm": 0.12345678901234567, "update_ratio": 0.1}
                training.history.layers.extend(dict(row) for _ in range(12_000))

    monkeypatch.setattr(loop, "SAVE_INTERVAL", 0)
    uninterrupted, resumed = small_mlp(), small_mlp()
    expected = train(uninterrupted, tmp_path / "whole", callbacks=[AddRows()])
    assert RunFolder(tmp_path / "whole").last.stat().st_size > weights.MAX_WEIGHTS_HEADER_BYTES
    with pytest.raises(Stopped):
        train(small_mlp(), tmp_path / "run", callbacks=[AddRows(), StopAt(23)])
    history = train(resumed, tmp_path / "run", resume=True, callbacks=[AddRows()])
    assert resumed.sha256() == uninterrupted.sha256()
    assert history.layers == expected.layers


def test_a_checkpoint_of_an_earlier_version_is_resumed_exactly(tmp_path, uninterrupted, monkeypatch):
    """Its header has the history and the state of callbacks, which the current version stores in a tensor."""
    monkeypatch.setattr(loop, "SAVE_INTERVAL", 0)
    resumed = small_conv()
    _, sha256, expected = uninterrupted(small_conv)
    with pytest.raises(Stopped):
        train(small_conv(), tmp_path, callbacks=[StopAt(23)])
    last = RunFolder(tmp_path).last
    tensors, about = weights.read_weights(last)
    growing = json.loads(tensors.pop("[progress]").numpy().tobytes())
    assert set(growing) == {"rows", "layers", "callbacks"}
    weights.write_weights(last, tensors, {**about, "progress": {**about["progress"], **growing}})
    history = train(resumed, tmp_path, resume=True)
    assert resumed.sha256() == sha256
    assert history["val_loss"] == expected["val_loss"]


@pytest.mark.parametrize("data", [b"{", b"[]", b"\xff", b"[" * 100_000])
def test_a_foreign_history_is_reported_in_one_line(tmp_path, uninterrupted, data):
    run = shutil.copytree(uninterrupted(small_mlp)[0], tmp_path / "run")
    last = RunFolder(run).last
    tensors, about = weights.read_weights(last)
    tensors["[progress]"] = torch.tensor(list(data), dtype=torch.uint8)
    weights.write_weights(last, tensors, about)
    with pytest.raises(PellucidError, match=r"\[progress\] is invalid.*; start a new run"):
        train(small_mlp(), run, resume=True)
