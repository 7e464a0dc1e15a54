"""Exact resumption: whatever ends a training, going on leads to the bits of the uninterrupted one."""

import csv
import json
import os
import shutil
import signal
from functools import cache

import pytest
import torch

from pellucid import files
from pellucid.errors import PellucidError
from pellucid.model import Model
from pellucid.optim import SGD
from pellucid.optim.schedules import Constant, Cosine, InverseTime, OneCycle, ReduceOnPlateau, Step, Warmup
from pellucid.run import weights
from pellucid.run.folder import RunFolder
from pellucid.run.history import read_csv
from pellucid.training import checkpoint, device, fit
from pellucid.training.callbacks import Callback, EarlyStopping
from tests.training import killed
from tests.training.small import StopAt, Stopped, digits, flip, small_conv, small_mlp

MEASURED = ("seconds", "images_per_second")  # by the clock


def train(model, run, resume=False, extra=(), data=None, **options):
    settings = {"epochs": 4, "batch_size": 30, "validation": digits(300, 350), "augment": flip, **options}
    return model.fit(data or digits(), run=run, resume=resume, callbacks=extra, verbose=False, **settings)


def without_times(path):
    with path.open(newline="") as file:
        return [{name: text for name, text in row.items() if name not in MEASURED} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return a function that trains without interruption, once for each model: the run folder, hash and history."""

    @cache
    def trained(make):
        run, model = tmp_path_factory.mktemp("whole"), make()
        history = train(model, run, checkpoint_seconds=0.0)
        return run, model.sha256(), history

    return trained


@pytest.mark.slow
@pytest.mark.parametrize("make", [small_mlp, small_conv])
@pytest.mark.parametrize("step", [1, 10, 13, 29, 40])
def test_a_training_ended_by_an_error_is_resumed_exactly(tmp_path, whole, make, step):
    broken, resumed = make(), make()
    run, sha256, expected = whole(make)
    with pytest.raises(Stopped):
        train(broken, tmp_path / "run", extra=[StopAt(step)], checkpoint_seconds=0.0)
    history = train(resumed, tmp_path / "run", resume=True, extra=[StopAt(-1)], checkpoint_seconds=0.0)
    assert resumed.sha256() == sha256
    for name in ("metrics.csv", "layers.csv"):
        assert without_times(tmp_path / "run" / name) == without_times(run / name)
    assert history.layers == expected.layers
    for kind in ("best", "last"):
        weights = [Model.load(one / "weights" / f"{kind}.safetensors").sha256() for one in (tmp_path / "run", run)]
        assert weights[0] == weights[1]


def test_a_training_is_resumed_from_a_checkpoint_inside_an_epoch(tmp_path, whole, monkeypatch):
    monkeypatch.setattr(fit, "TICK", 0.0)
    with pytest.raises(Stopped):
        train(small_conv(), tmp_path, extra=[StopAt(17)], checkpoint_seconds=0.0)
    state = checkpoint.SavedState(RunFolder(tmp_path).last)
    assert (state.progress["step"], state.progress["epoch"], state.progress["batch"]) == (16, 1, 6)
    resumed = small_conv()
    train(resumed, tmp_path, resume=True, extra=[StopAt(-1)])
    assert resumed.sha256() == whole(small_conv)[1]


def test_early_stopping_restores_its_best_value_when_resumed(tmp_path):
    def options():
        return {"extra": [EarlyStopping(2, "val_loss"), StopAt(at)], "epochs": 60, "augment": None, "batch_size": 10}

    at = -1
    whole, broken, resumed = (Model(small_mlp().net, optimizer=SGD(3.0)) for _ in range(3))
    history = train(whole, tmp_path / "whole", **options())
    assert 3 < len(history) < 60
    at = 30 * len(history) - 5  # in its last epoch: the best weights lie behind the checkpoint
    with pytest.raises(Stopped):
        train(broken, tmp_path / "run", **options())
    at = -1
    again = train(resumed, tmp_path / "run", resume=True, **options())
    assert resumed.sha256() == whole.sha256()
    assert again["val_loss"] == history["val_loss"]


def test_resuming_a_finished_training_changes_nothing(tmp_path):
    first, second = small_mlp(), small_mlp()
    history = train(first, tmp_path)
    before = (tmp_path / "metrics.csv").read_text()
    assert train(second, tmp_path, resume=True) == history
    assert second.sha256() == first.sha256()
    assert (tmp_path / "metrics.csv").read_text() == before


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_again(tmp_path, whole):
    with pytest.raises(Stopped):
        train(small_mlp(), tmp_path, extra=[StopAt(3)])
    assert not RunFolder(tmp_path).last.exists()
    resumed = small_mlp()
    train(resumed, tmp_path, resume=True)
    assert resumed.sha256() == whole(small_mlp)[1]


def test_a_folder_that_holds_a_training_is_not_overwritten(whole):
    with pytest.raises(PellucidError, match="has a training already; resume it, or choose another run folder"):
        train(small_mlp(), whole(small_mlp)[0])


CHANGES = {
    "batch size": (small_mlp, {"batch_size": 31}),
    "number of epochs": (small_mlp, {"epochs": 3}),  # fewer than were trained; more extend the training
    "training data": (small_mlp, {"data": digits(1, 301)}),
    "validation data": (small_mlp, {"validation": digits(300, 351)}),
    "augmentation": (small_mlp, {"augment": None}),
    "seed": (lambda: small_mlp(seed=1), {}),
    "clipping": (lambda: small_mlp(clip=1.0), {}),
    "optimizer": (lambda: Model(small_mlp().net, optimizer=SGD(0.6)), {}),
    "network, optimizer, schedule": (small_conv, {}),
}


@pytest.mark.parametrize("message", CHANGES)
def test_resuming_with_other_settings_is_refused_and_names_them(whole, message):
    make, options = CHANGES[message]
    with pytest.raises(PellucidError, match=f"was begun with other settings: {message}; resume with the same"):
        train(make(), whole(small_mlp)[0], resume=True, **options)


def test_resuming_with_other_callbacks_is_refused(whole):
    with pytest.raises(PellucidError, match="with the callbacks 0-Checkpoint, not 0-EarlyStopping, 1-Checkpoint;"):
        train(small_mlp(), whole(small_mlp)[0], resume=True, extra=[EarlyStopping(3)])


def test_stateless_callbacks_may_differ_on_resume(tmp_path, whole):
    resumed = small_mlp()
    with pytest.raises(Stopped):
        train(small_mlp(), tmp_path, extra=[Callback(), StopAt(13)])
    shown = {"epochs": 4, "batch_size": 30, "validation": digits(300, 350), "augment": flip, "verbose": True}
    resumed.fit(digits(), run=tmp_path, resume=True, **shown)
    assert resumed.sha256() == whole(small_mlp)[1]


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
    monkeypatch.setattr(fit, "TICK", 0.0)
    whole = Model(small_mlp().net, optimizer=SGD(2.0), schedule=schedule)
    expected = train(whole, None)
    for step in (3, 23):  # before the first epoch's end, when nothing was observed yet, and later
        run, (broken, resumed) = (
            tmp_path / str(step),
            (Model(whole.net, optimizer=SGD(2.0), schedule=schedule) for _ in range(2)),
        )
        with pytest.raises(Stopped):
            train(broken, run, extra=[StopAt(step)], checkpoint_seconds=0.0)
        assert checkpoint.SavedState(RunFolder(run).last).progress["step"] == step - 1
        history = train(resumed, run, resume=True, extra=[StopAt(-1)])
        assert resumed.sha256() == whole.sha256()
        assert history["lr"] == expected["lr"]


def test_another_precision_is_refused_also_where_the_processor_decides_it(tmp_path, monkeypatch):
    monkeypatch.setattr(device.torch.cpu, "get_capabilities", dict)
    train(small_mlp(precision="bf16"), tmp_path)
    assert RunFolder(tmp_path).read_manifest()["precision"] == "float32"
    train(small_mlp(), tmp_path, resume=True)
    monkeypatch.setattr(device.torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    with pytest.raises(PellucidError, match="was begun with other settings: precision"):
        train(small_mlp(precision="bf16"), tmp_path, resume=True)


def test_weights_without_optimizer_state_cannot_be_resumed(tmp_path, whole):
    folder = RunFolder(shutil.copytree(whole(small_mlp)[0], tmp_path / "run"))
    folder.last.write_bytes(folder.best.read_bytes())
    with pytest.raises(PellucidError, match="contains only weights, no training to resume"):
        train(small_mlp(), folder.path, resume=True)


class Press(Callback):
    """Presses Ctrl-C, or sends another signal, after a step."""

    def __init__(self, step, number):
        self.step, self.number = step, number

    def on_step(self, training):
        if training.step == self.step:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("step", [13, 20])  # within an epoch, and at its last step
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_after_the_step_and_prints_how_to_resume(tmp_path, whole, number, step):
    earlier = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt) as caught:
        train(small_conv(), tmp_path, extra=[Press(step, number)])
    epoch = 2 if step == 13 else 3
    assert str(caught.value) == (
        f"stopped in epoch {epoch} after step {step}; saved in {tmp_path}; resume with the same fit with resume=True"
    )
    assert signal.getsignal(number) is earlier
    resumed = small_conv()
    train(resumed, tmp_path, resume=True, extra=[Press(-1, number)])
    assert resumed.sha256() == whole(small_conv)[1]


def test_ctrl_c_in_the_last_step_saves_the_training(tmp_path, whole):
    pressed, resumed = small_conv(), small_conv()
    with pytest.raises(KeyboardInterrupt, match="stopped after the last step, 40; saved in"):
        train(pressed, tmp_path, extra=[Press(40, signal.SIGINT)])
    train(resumed, tmp_path, resume=True, extra=[Press(-1, signal.SIGINT)])
    assert resumed.sha256() == whole(small_conv)[1]


def test_a_run_of_a_recipe_names_the_command(tmp_path):
    (tmp_path / "recipe.toml").write_text("")
    with pytest.raises(KeyboardInterrupt, match=f"resume with pellucid train --resume {tmp_path}$"):
        train(small_mlp(), tmp_path, extra=[Press(3, signal.SIGINT)])


def test_a_second_ctrl_c_stops_at_once(tmp_path):
    class Twice(Press):
        def on_step(self, training):
            super().on_step(training)
            super().on_step(training)

    with pytest.raises(KeyboardInterrupt, match="stopped at once"):
        train(small_mlp(), tmp_path, extra=[Twice(3, signal.SIGINT)])


@pytest.mark.slow
def test_killing_it_at_any_moment_loses_nothing(tmp_path):
    """Four kill -9, each after more checkpoints than the one before, each resumed, against the uninterrupted hash."""
    expected = killed.train(tmp_path / "whole")
    said, steps = killed.killed_and_resumed(killed.train, tmp_path / "run")
    assert said == expected
    assert steps == sorted(set(steps))  # each process came further than the one before
    rows = read_csv(tmp_path / "run" / "metrics.csv")
    assert [row["epoch"] for row in rows] == list(range(1, killed.EPOCHS + 1))
    assert not list((tmp_path / "run").rglob(".*.tmp"))


@pytest.mark.slow
def test_a_kill_inside_every_write_of_a_training_loses_nothing(tmp_path, monkeypatch):
    """The process dies at each place where a file is about to be written, is half written, or is about to move."""
    whole = small_mlp()
    train(whole, tmp_path / "whole", epochs=2)

    class Died(BaseException):
        pass

    real, calls, fatal = files.Path.replace, [0], [0]

    def dying(self, target):
        calls[0] += 1
        if calls[0] == fatal[0] and self.stat().st_nlink > 1:  # a second name of a whole file
            raise Died
        if calls[0] == fatal[0]:
            half = self.read_bytes()
            self.write_bytes(half[: len(half) // 2])
            raise Died
        return real(self, target)

    monkeypatch.setattr(files.Path, "replace", dying)
    places = 0
    for index in range(1, 50):
        calls[0], fatal[0], run = 0, index, tmp_path / f"run{index}"
        try:
            train(small_mlp(), run, epochs=2)
        except Died:
            places += 1
        else:
            break
        fatal[0] = 0
        resumed = small_mlp()
        train(resumed, run, resume=True, epochs=2)
        assert resumed.sha256() == whole.sha256()
        assert without_times(run / "metrics.csv") == without_times(tmp_path / "whole" / "metrics.csv")
        assert not list(run.rglob(".*.tmp"))
    assert places >= 5  # manifest, two CSV files, best and last weights at least


def test_a_history_longer_than_a_header_may_be_is_written_and_resumed(tmp_path, monkeypatch):
    """As in a long training of a deep network: more bytes of layers.csv than the limit."""
    monkeypatch.setattr(weights, "MAX_HEADER_SIZE", 1 << 20)

    class Long(Callback):
        def on_start(self, training):
            if not training.history.layers:
                row = {"epoch": 0, "path": "dense.weight", "grad_norm": 0.12345678901234567, "update_ratio": 0.1}
                training.history.layers.extend(dict(row) for _ in range(12_000))

    monkeypatch.setattr(fit, "SAVE_INTERVAL", 0)
    whole, resumed = small_mlp(), small_mlp()
    expected = train(whole, tmp_path / "whole", extra=[Long()])
    assert RunFolder(tmp_path / "whole").last.stat().st_size > weights.MAX_HEADER_SIZE
    with pytest.raises(Stopped):
        train(small_mlp(), tmp_path / "run", extra=[Long(), StopAt(23)])
    history = train(resumed, tmp_path / "run", resume=True, extra=[Long()])
    assert resumed.sha256() == whole.sha256()
    assert history.layers == expected.layers


def test_a_checkpoint_of_an_earlier_version_is_resumed_exactly(tmp_path, whole, monkeypatch):
    """Its header holds the history and what callbacks remember, which are bytes of a tensor now."""
    monkeypatch.setattr(fit, "SAVE_INTERVAL", 0)
    resumed = small_conv()
    _, sha256, expected = whole(small_conv)
    with pytest.raises(Stopped):
        train(small_conv(), tmp_path, extra=[StopAt(23)])
    last = RunFolder(tmp_path).last
    tensors, about = weights.read_weights(last)
    growing = json.loads(tensors.pop("[progress]").numpy().tobytes())
    assert set(growing) == {"rows", "layers", "callbacks"}
    weights.write_weights(last, tensors, {**about, "progress": {**about["progress"], **growing}})
    history = train(resumed, tmp_path, resume=True)
    assert resumed.sha256() == sha256
    assert history["val_loss"] == expected["val_loss"]


@pytest.mark.parametrize("data", [b"{", b"[]", b"\xff", b"[" * 100_000])
def test_a_foreign_history_is_reported_in_one_line(tmp_path, whole, data):
    run = shutil.copytree(whole(small_mlp)[0], tmp_path / "run")
    last = RunFolder(run).last
    tensors, about = weights.read_weights(last)
    tensors["[progress]"] = torch.tensor(list(data), dtype=torch.uint8)
    weights.write_weights(last, tensors, about)
    with pytest.raises(PellucidError, match=r"\[progress\] is invalid.*; start a new run"):
        train(small_mlp(), run, resume=True)
