"""Callbacks: early stopping, checkpoints, CSV files and the progress line."""

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

from pellucid.base.errors import PellucidError
from pellucid.cli.main import main
from pellucid.data import Dataset
from pellucid.metrics import Metric
from pellucid.model import Model
from pellucid.models import mlp
from pellucid.optim import Adam
from pellucid.run.history import History, read_csv, write_csv
from pellucid.run.weights import weights_sha256
from pellucid.training.callbacks import Callback, Checkpoint, CSVLog, EarlyStopping, Training, is_better
from pellucid.training.progress import ProgressLine
from tests.training.small import digits, small_mlp


class HashRecorder(Callback):
    """Records the hash of the weights after every epoch."""

    def __init__(self):
        self.hashes = []

    def on_epoch_end(self, training, row):
        self.hashes.append(weights_sha256(training.model.params))


def overfit(callbacks, epochs=40):
    """Train on twenty images, half of them labelled wrongly, so that the validation loss soon rises."""
    data = digits(0, 20)
    noisy_data = Dataset.from_arrays(data.x, torch.where(torch.arange(20) % 2 == 0, data.y, 9 - data.y), data.classes)
    model = Model(mlp((64, 16, 10), activation="relu"), optimizer=Adam(0.01))
    history = model.fit(
        noisy_data, epochs=epochs, batch_size=5, validation=digits(300, 400), callbacks=callbacks, verbose=False
    )
    return model, history


def test_callbacks_have_a_one_line_repr():
    assert repr(EarlyStopping(4, "val_loss")) == "EarlyStopping(patience=4, monitor='val_loss', min_delta=0.0)"
    assert repr(Callback()) == "Callback()"


class DirectionRecorder(Callback):
    """Records the columns that are better when lower."""

    def on_epoch_end(self, training, row):
        self.lower, self.columns = training.lower_is_better, set(row)


def test_higher_accuracies_are_better_also_beside_validation_data():
    recorder = DirectionRecorder()
    overfit([recorder], epochs=1)
    assert {"train_accuracy", "val_accuracy"} < recorder.columns
    assert recorder.lower == {"train_loss", "val_loss"}


def test_early_stopping_ends_after_its_patience_with_the_best_weights():
    recorder, stopping = HashRecorder(), EarlyStopping(4, monitor="val_loss")
    model, history = overfit([recorder, stopping])
    losses = history["val_loss"]
    best_index = losses.index(min(losses))
    assert len(history) == best_index + 1 + 4 < 40
    assert stopping.best == losses[best_index]
    assert stopping.best_epoch == best_index + 1
    assert model.sha256() == recorder.hashes[best_index] != recorder.hashes[-1]
    assert model.evaluate(digits(300, 400))["loss"] == losses[best_index]


def test_the_best_weights_are_restored_after_the_last_epoch():
    recorder = HashRecorder()
    model, history = overfit([recorder, EarlyStopping(100, monitor="val_loss")], epochs=25)
    assert len(history) == 25
    assert model.sha256() == recorder.hashes[history["val_loss"].index(min(history["val_loss"]))]


def test_improvements_below_min_delta_do_not_count():
    _, history = overfit([EarlyStopping(2, monitor="val_loss", min_delta=10.0)])
    assert len(history) == 3


def test_early_stopping_resets_for_a_second_training():
    stopping = EarlyStopping(2, monitor="val_loss")
    assert len(overfit([stopping])[1]) == len(overfit([stopping])[1])


def test_monitored_losses_are_minimized_and_metrics_maximized_by_default():
    training = Training(small_mlp(), 1, 1, 1, lower_is_better=frozenset({"val_loss", "val_mae"}))
    for column in ("val_loss", "val_mae"):
        assert is_better(training, column, 1.0, 2.0)
        assert not is_better(training, column, 2.0, 2.0)
    assert is_better(training, "val_accuracy", 0.9, 0.8)
    assert not is_better(training, "val_accuracy", 0.9, 0.89, 0.02)
    assert is_better(training, "val_accuracy", 0.0, None)


class PresetMetric(Metric):
    """A metric whose results are the next numbers of `values`."""

    values = iter(())

    def update(self, outputs, targets):
        pass

    def compute(self):
        return {"given": next(type(self).values)}


@pytest.mark.parametrize(("is_lower_better", "best_epoch"), [(True, 2), (False, 3)])
def test_the_best_epoch_depends_on_the_direction_of_the_metric(tmp_path, is_lower_better, best_epoch):
    class Given(PresetMetric):
        lower_is_better = is_lower_better
        values = iter([9.0, 3.0, 3.0, 1.0, 1.0, 5.0, 5.0])  # the rehearsal, then training and validation of each epoch

    stopping = EarlyStopping(5, "val_given")
    model = small_mlp(metrics=[Given()])
    model.fit(digits(0, 100), epochs=3, batch_size=50, validation=digits(100, 150), callbacks=[stopping], verbose=False)
    assert stopping.best_epoch == best_epoch


def test_a_monitored_column_that_is_not_finite_is_reported():
    def undefined(outputs, targets):
        return float("nan")

    model = small_mlp(metrics=[undefined])
    stopping = EarlyStopping(1, "val_undefined")
    with pytest.raises(PellucidError, match="val_undefined is not finite after epoch 1; monitor another column"):
        model.fit(digits(0, 100), epochs=2, batch_size=50, validation=0.2, callbacks=[stopping], verbose=False)


def test_an_unknown_column_and_an_invalid_patience_are_refused():
    with pytest.raises(PellucidError, match=r"no column 'val_los'; did you mean 'val_loss'"):
        overfit([EarlyStopping(2, monitor="val_los")])
    with pytest.raises(PellucidError, match="patience must be a whole number of at least 1, not 0"):
        EarlyStopping(0)


def test_a_checkpoint_holds_the_best_weights(tmp_path):
    recorder = HashRecorder()
    _, history = overfit([recorder, Checkpoint(tmp_path / "best.safetensors", "val_loss")], epochs=20)
    best_index = history["val_loss"].index(min(history["val_loss"]))
    assert best_index < 19
    assert Model.load(tmp_path / "best.safetensors").sha256() == recorder.hashes[best_index]


def test_a_checkpoint_without_a_monitor_holds_the_last_weights(tmp_path):
    model, _ = overfit([Checkpoint(tmp_path / "last.safetensors", "")], epochs=5)
    assert Model.load(tmp_path / "last.safetensors").sha256() == model.sha256()


def test_the_best_weights_are_synced_to_disk_before_the_last_checkpoint(tmp_path, monkeypatch):
    real_fsync, synced_names = os.fsync, []

    def fsync(handle):
        synced_names.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        real_fsync(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    small_mlp().fit(digits(), epochs=1, batch_size=50, validation=0.1, run=tmp_path, verbose=False)
    files = [name.split(".")[1] for name in synced_names if name.endswith(".tmp")]
    assert files == ["manifest", "best", "last"]


def test_csv_has_a_row_for_each_finished_epoch(tmp_path):
    lengths = []

    class CountRows(Callback):
        def on_epoch_end(self, training, row):
            lengths.append(len(read_csv(tmp_path / "m.csv")))

    (tmp_path / "m.csv").write_text("from an earlier training\n")
    log = CSVLog(tmp_path / "m.csv", tmp_path / "layers.csv")
    history = small_mlp().fit(digits(), epochs=3, batch_size=50, callbacks=[log, CountRows()], verbose=False)
    assert lengths == [1, 2, 3]
    assert read_csv(tmp_path / "m.csv") == history.rows  # floats are restored exactly
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


EPOCH_LINE = re.compile(r"epoch (\d)/3  loss \d\.\d{4}  val_accuracy [01]\.\d{4}  [\d,]+ images/s  \d+:\d\d left")


class Terminal(io.StringIO):
    def isatty(self):
        return True


class OutStream(io.StringIO):
    """A stream that looks like sys.stderr of a Jupyter notebook: not a terminal, and of ipykernel's module."""


OutStream.__module__ = "ipykernel.iostream"


def train_on_a_terminal(**options):
    """Train with a pseudo-terminal as stderr, and return the text that was written to it."""
    master_fd, terminal_fd = pty.openpty()
    chunks = []

    def read():
        try:
            while chunk := os.read(master_fd, 4096):
                chunks.append(chunk)
        except OSError:  # the terminal is closed
            pass

    reader = Thread(target=read)
    reader.start()
    with os.fdopen(terminal_fd, "w") as terminal, redirect_stderr(terminal):
        train(**options)
    reader.join()
    os.close(master_fd)
    return b"".join(chunks).decode()


def test_redirected_stderr_gets_one_plain_line_per_epoch(capfd):
    train()
    out, err = capfd.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert [EPOCH_LINE.fullmatch(line).group(1) for line in lines] == ["1", "2", "3"]
    assert "\r" not in err
    assert "\x1b" not in err


def test_a_terminal_shows_one_live_line():
    text = train_on_a_terminal()
    assert text.count("\n") == 1  # at the end of the line
    assert text.endswith("\n")
    live_lines = [line.rstrip() for line in text.strip().split("\r") if line.strip()]
    assert live_lines[0] == "epoch 1/3   0 %"
    assert re.fullmatch(
        r"epoch 3/3 100 %  loss \d\.\d{4}  val_accuracy [01]\.\d{4}  [\d,]+ images/s  in 0:\d\d", live_lines[-1]
    )
    assert all(len(line) < 80 for line in live_lines)


def test_verbose_false_is_silent(capfd):
    assert train_on_a_terminal(verbose=False) == ""
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


def test_a_shorter_live_line_overwrites_all_of_a_longer_one():
    class Narrow(Terminal):
        pass

    screen = Narrow()
    small_mlp().fit(digits(), epochs=3, batch_size=10, callbacks=[ProgressLine(screen)], verbose=False)
    lines = screen.getvalue().rstrip("\n").split("\r")[1:]
    for before, line in pairwise(lines):
        assert len(line) >= len(before.rstrip())


def test_the_line_of_an_epoch_is_written_at_its_end(capsys):
    outputs = []

    class ReadOutput(Callback):
        def on_epoch_end(self, training, row):
            outputs.append(capsys.readouterr().err)

    small_mlp().fit(digits(), epochs=2, batch_size=10, callbacks=[ReadOutput()])
    assert outputs[0] == ""  # the user's callbacks are called before the progress line
    assert outputs[1].startswith("epoch 1/2  loss ")


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
