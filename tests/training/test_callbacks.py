"""Early stopping, checkpoints, CSV and the progress bar."""

import io
import os
import pty
import re
from contextlib import redirect_stderr
from itertools import pairwise
from pathlib import Path
from threading import Thread

import pytest
import torch

from pellucid.cli.main import main
from pellucid.data import Dataset
from pellucid.errors import PellucidError
from pellucid.metrics import Metric
from pellucid.model import Model
from pellucid.models import mlp
from pellucid.optim import Adam
from pellucid.run.history import History, read_csv, write_csv
from pellucid.run.weights import weights_sha256
from pellucid.training.callbacks import Callback, Checkpoint, CSVLog, EarlyStopping, Training, better
from pellucid.training.progress import ProgressLine
from tests.training.small import digits, small_mlp


class KeepAll(Callback):
    """Remembers the weights' hash after every epoch."""

    def __init__(self):
        self.hashes = []

    def on_epoch_end(self, training, row):
        self.hashes.append(weights_sha256(training.model.params))


def overfit(callbacks, epochs=40):
    """Twenty images, half of them with a wrong label: validation gets worse soon."""
    few = digits(0, 20)
    wrong = Dataset.from_arrays(few.x, torch.where(torch.arange(20) % 2 == 0, few.y, 9 - few.y), few.classes)
    model = Model(mlp((64, 16, 10), activation="relu"), optimizer=Adam(0.01))
    history = model.fit(
        wrong, epochs=epochs, batch_size=5, validation=digits(300, 400), callbacks=callbacks, verbose=False
    )
    return model, history


def test_callbacks_have_a_one_line_repr():
    assert repr(EarlyStopping(4, "val_loss")) == "EarlyStopping(patience=4, monitor='val_loss', min_delta=0.0)"
    assert repr(Callback()) == "Callback()"


def test_early_stopping_ends_after_its_patience_with_the_best_weights():
    keep, stopping = KeepAll(), EarlyStopping(4, monitor="val_loss")
    model, history = overfit([keep, stopping])
    losses = history["val_loss"]
    best = losses.index(min(losses))
    assert len(history) == best + 1 + 4 < 40
    assert stopping.best == losses[best]
    assert stopping.best_epoch == best + 1
    assert model.sha256() == keep.hashes[best] != keep.hashes[-1]
    assert model.evaluate(digits(300, 400))["loss"] == losses[best]


def test_the_best_weights_are_restored_without_an_early_end():
    keep = KeepAll()
    model, history = overfit([keep, EarlyStopping(100, monitor="val_loss")], epochs=25)
    assert len(history) == 25
    assert model.sha256() == keep.hashes[history["val_loss"].index(min(history["val_loss"]))]


def test_small_improvements_do_not_count():
    _, history = overfit([EarlyStopping(2, monitor="val_loss", min_delta=10.0)])
    assert len(history) == 3


def test_early_stopping_can_be_used_again():
    stopping = EarlyStopping(2, monitor="val_loss")
    assert len(overfit([stopping])[1]) == len(overfit([stopping])[1])


def test_monitored_losses_are_minimized_and_metrics_maximized_by_default():
    where = Training(small_mlp(), 1, 1, 1, lower=frozenset({"val_loss", "val_mae"}))
    for falling in ("val_loss", "val_mae"):
        assert better(where, falling, 1.0, 2.0)
        assert not better(where, falling, 2.0, 2.0)
    assert better(where, "val_accuracy", 0.9, 0.8)
    assert not better(where, "val_accuracy", 0.9, 0.89, 0.02)
    assert better(where, "val_accuracy", 0.0, None)


class Recorded(Metric):
    """Gives one number after the other, epoch by epoch."""

    values = iter(())

    def update(self, outputs, targets):
        pass

    def compute(self):
        return {"given": next(type(self).values)}


@pytest.mark.parametrize(("lower", "best"), [(True, 2), (False, 3)])
def test_the_best_epoch_depends_on_the_direction_of_the_metric(tmp_path, lower, best):
    class Given(Recorded):
        lower_is_better = lower
        values = iter([9.0, 3.0, 3.0, 1.0, 1.0, 5.0, 5.0])  # the first of the rehearsal, then training and validation

    stopping = EarlyStopping(5, "val_given")
    model = small_mlp(metrics=[Given()])
    model.fit(digits(0, 100), epochs=3, batch_size=50, validation=digits(100, 150), callbacks=[stopping], verbose=False)
    assert stopping.best_epoch == best


def test_a_monitored_column_that_is_not_finite_is_named():
    def undefined(outputs, targets):
        return float("nan")

    model = small_mlp(metrics=[undefined])
    keep = EarlyStopping(1, "val_undefined")
    with pytest.raises(PellucidError, match="val_undefined is not finite after epoch 1; monitor another column"):
        model.fit(digits(0, 100), epochs=2, batch_size=50, validation=0.2, callbacks=[keep], verbose=False)


def test_a_column_that_does_not_exist_is_named():
    with pytest.raises(PellucidError, match=r"no column 'val_los'; did you mean 'val_loss'"):
        overfit([EarlyStopping(2, monitor="val_los")])
    with pytest.raises(PellucidError, match="patience must be a whole number of at least 1, not 0"):
        EarlyStopping(0)


def test_a_checkpoint_holds_the_best_weights(tmp_path):
    keep = KeepAll()
    _, history = overfit([keep, Checkpoint(tmp_path / "best.safetensors", "val_loss")], epochs=20)
    best = history["val_loss"].index(min(history["val_loss"]))
    assert best < 19
    assert Model.load(tmp_path / "best.safetensors").sha256() == keep.hashes[best]


def test_a_checkpoint_without_a_monitor_holds_the_last_weights(tmp_path):
    model, _ = overfit([Checkpoint(tmp_path / "last.safetensors", "")], epochs=5)
    assert Model.load(tmp_path / "last.safetensors").sha256() == model.sha256()


def test_the_best_weights_reach_the_disk_before_their_checkpoint_does(tmp_path, monkeypatch):
    real, synced = os.fsync, []

    def fsync(handle):
        synced.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    small_mlp().fit(digits(), epochs=1, batch_size=50, validation=0.1, run=tmp_path, verbose=False)
    files = [name.split(".")[1] for name in synced if name.endswith(".tmp")]
    assert files == ["manifest", "best", "last"]


def test_csv_has_a_row_for_each_epoch_as_it_ends(tmp_path):
    lengths = []

    class Count(Callback):
        def on_epoch_end(self, training, row):
            lengths.append(len(read_csv(tmp_path / "m.csv")))

    (tmp_path / "m.csv").write_text("from an earlier training\n")
    log = CSVLog(tmp_path / "m.csv", tmp_path / "layers.csv")
    history = small_mlp().fit(digits(), epochs=3, batch_size=50, callbacks=[log, Count()], verbose=False)
    assert lengths == [1, 2, 3]
    assert read_csv(tmp_path / "m.csv") == history.rows  # floats come back to the last bit
    assert read_csv(tmp_path / "layers.csv") == history.layers


def test_a_history_is_read_back_from_a_folder(tmp_path):
    history = small_mlp().fit(digits(), epochs=2, batch_size=50, run=tmp_path / "run", verbose=False)
    assert History.read(tmp_path / "run") == history
    assert history["epoch"] == [1, 2]
    with pytest.raises(PellucidError, match=r"no column 'acc'; known: epoch, step"):
        history["acc"]
    with pytest.raises(PellucidError, match=r"metrics\.csv cannot be read"):
        History.read(tmp_path)


def test_numbers_are_restored_exactly_and_paths_as_text(tmp_path):
    row = {"epoch": 3, "big": 10**30, "low": -7, "rate": 1e-30, "path": "conv.1.weight", "none": None}
    write_csv(tmp_path / "m.csv", [row])
    assert read_csv(tmp_path / "m.csv") == [{**row, "big": 1e30}]
    write_csv(tmp_path / "m.csv", [{"loss": float("nan"), "lr": float("inf"), "digits": "9" * 5000}])
    assert read_csv(tmp_path / "m.csv") == [{"loss": None, "lr": None, "digits": None}]


@pytest.mark.parametrize("data", [b"a,b\n1\n", b"a,b\n1,2,3\n", b'"a\n', b"a\n\xff\n"])
def test_a_damaged_csv_is_reported_in_one_line(tmp_path, data):
    (tmp_path / "m.csv").write_bytes(data)
    with pytest.raises(PellucidError):
        read_csv(tmp_path / "m.csv")


def train(verbose=True):
    small_mlp().fit(digits(), epochs=3, batch_size=10, validation=digits(300, 350), verbose=verbose)


LINE = re.compile(r"epoch (\d)/3  loss \d\.\d{4}  val_accuracy [01]\.\d{4}  [\d,]+ images/s  \d+:\d\d left")


class Terminal(io.StringIO):
    def isatty(self):
        return True


class OutStream(io.StringIO):
    """What sys.stderr is in a Jupyter notebook, to all that can be told: no terminal, of ipykernel's module."""


OutStream.__module__ = "ipykernel.iostream"


def on_a_terminal(**options):
    """Train with a pseudo-terminal as stderr, and return what was written there."""
    ours, theirs = pty.openpty()
    text = []

    def read():
        try:
            while chunk := os.read(ours, 4096):
                text.append(chunk)
        except OSError:  # the other end is closed
            pass

    reader = Thread(target=read)
    reader.start()
    with os.fdopen(theirs, "w") as terminal, redirect_stderr(terminal):
        train(**options)
    reader.join()
    os.close(ours)
    return b"".join(text).decode()


def test_a_redirected_training_writes_one_plain_line_per_epoch_on_stderr(capfd):
    train()
    out, err = capfd.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert [LINE.fullmatch(line).group(1) for line in lines] == ["1", "2", "3"]
    assert "\r" not in err
    assert "\x1b" not in err


def test_a_terminal_gets_one_live_line():
    text = on_a_terminal()
    assert text.count("\n") == 1  # at its end
    assert text.endswith("\n")
    drawn = [line.rstrip() for line in text.strip().split("\r") if line.strip()]
    assert drawn[0] == "epoch 1/3   0 %"
    assert re.fullmatch(
        r"epoch 3/3 100 %  loss \d\.\d{4}  val_accuracy [01]\.\d{4}  [\d,]+ images/s  in 0:\d\d", drawn[-1]
    )
    assert all(len(line) < 80 for line in drawn)


def test_verbose_false_is_silent(capfd):
    assert on_a_terminal(verbose=False) == ""
    train(verbose=False)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("stream", [Terminal, OutStream])
def test_the_live_line_shows_epoch_loss_metric_and_speed(stream):
    screen = stream()
    history = small_mlp().fit(
        digits(), epochs=3, batch_size=10, validation=digits(300, 350), callbacks=[ProgressLine(screen)], verbose=False
    )
    last = screen.getvalue().rsplit("\r", 1)[1].rstrip()
    loss, accuracy = history.last["train_loss"], history.last["val_accuracy"]
    speed = f"{history.last['images_per_second']:,.0f} images/s"
    assert last.startswith(f"epoch 3/3 100 %  loss {loss:.4f}  val_accuracy {accuracy:.4f}  {speed}  in 0:0")
    assert screen.getvalue().count("\n") == 1
    assert "nan" not in screen.getvalue()


def test_a_shorter_live_line_leaves_nothing_of_a_longer_one():
    class Narrow(Terminal):
        pass

    screen = Narrow()
    small_mlp().fit(digits(), epochs=3, batch_size=10, callbacks=[ProgressLine(screen)], verbose=False)
    lines = screen.getvalue().rstrip("\n").split("\r")[1:]
    for before, line in pairwise(lines):
        assert len(line) >= len(before.rstrip())


def test_the_line_of_an_epoch_is_written_at_its_end(capsys):
    seen = []

    class Look(Callback):
        def on_epoch_end(self, training, row):
            seen.append(capsys.readouterr().err)

    small_mlp().fit(digits(), epochs=2, batch_size=10, callbacks=[Look()])
    assert seen[0] == ""  # the user's callbacks come before ours
    assert seen[1].startswith("epoch 1/2  loss ")


@pytest.mark.parametrize("fault", [BrokenPipeError(32, "Broken pipe"), ValueError("I/O operation on closed file")])
@pytest.mark.parametrize("live", [True, False])
def test_training_continues_when_progress_cannot_be_written(fault, live):
    class Closed(io.StringIO):
        def isatty(self):
            return live

        def write(self, text):
            raise fault

    history = small_mlp().fit(digits(), epochs=2, batch_size=10, callbacks=[ProgressLine(Closed())], verbose=False)
    assert len(history) == 2


def test_the_live_line_is_ended_when_training_fails():
    class Fail(Callback):
        def on_epoch_end(self, training, row):
            raise ZeroDivisionError

    screen = Terminal()
    with pytest.raises(ZeroDivisionError):
        small_mlp().fit(digits(), epochs=2, batch_size=10, callbacks=[ProgressLine(screen), Fail()], verbose=False)
    assert screen.getvalue().count("\n") == 1
    assert screen.getvalue().endswith("\n")


@pytest.mark.usefixtures("no_report")
def test_pellucid_train_writes_epochs_to_stderr_and_only_json_to_stdout(tmp_path, capfd):
    assert main(["train", "digits", "train.epochs=2", "--json", "--out", str(tmp_path)]) == 0
    out, err = capfd.readouterr()
    assert [line.partition("  ")[0] for line in err.splitlines()] == ["epoch 1/2", "epoch 2/2"]
    assert out.startswith("{")
    assert out.count("\n") == 1
