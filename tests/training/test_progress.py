"""Progress: live on a terminal and in a notebook, a line per epoch elsewhere, and silence on demand."""

import io
import os
import pty
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from pellucid.training.callbacks import Callback, Progress
from tests.training.small import digits, small_mlp

ROOT = Path(__file__).parents[2]
TRAINING = """
from tests.training.small import digits, small_mlp
small_mlp().fit(digits(), epochs=3, batch_size=10, validation=digits(300, 350), verbose={verbose})
"""
LINE = re.compile(r"epoch (\d)/3  loss \d\.\d{4}  val_accuracy [01]\.\d{4}  [\d,]+ images/s  \d+:\d\d left")


class Terminal(io.StringIO):
    def isatty(self):
        return True


class OutStream(io.StringIO):
    """What sys.stderr is in a Jupyter notebook, to all that can be told: no terminal, of ipykernel's module."""


OutStream.__module__ = "ipykernel.iostream"


def command(verbose=True):
    return [sys.executable, "-c", TRAINING.format(verbose=verbose)]


def on_a_terminal(words):
    """Run a command whose stderr is a pseudo-terminal: (what it wrote there, its exit code)."""
    ours, theirs = pty.openpty()
    done = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=theirs, cwd=ROOT)
    os.close(theirs)
    text = b""
    try:
        while chunk := os.read(ours, 4096):
            text += chunk
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    return text.decode(), done.wait()


def test_a_redirected_training_writes_one_plain_line_per_epoch_on_stderr():
    done = subprocess.run(command(), capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert [LINE.fullmatch(line).group(1) for line in lines] == ["1", "2", "3"]
    assert "\r" not in done.stderr
    assert "\x1b" not in done.stderr


def test_a_terminal_gets_one_live_line():
    text, code = on_a_terminal(command())
    assert code == 0
    assert text.count("\n") == 1  # at its end
    assert text.endswith("\n")
    drawn = [line.rstrip() for line in text.strip().split("\r") if line.strip()]
    assert drawn[0] == "epoch 1/3   0 %"
    assert re.fullmatch(
        r"epoch 3/3 100 %  loss \d\.\d{4}  val_accuracy [01]\.\d{4}  [\d,]+ images/s  in 0:\d\d", drawn[-1]
    )
    assert all(len(line) < 80 for line in drawn)


@pytest.mark.parametrize("run", [lambda words: on_a_terminal(words)[0], lambda words: subprocess.run(
    words, capture_output=True, text=True, check=True, cwd=ROOT).stderr])  # fmt: skip
def test_verbose_false_is_silent(run):
    assert run(command(verbose=False)) == ""


@pytest.mark.parametrize("stream", [Terminal, OutStream])
def test_the_live_line_shows_epoch_loss_metric_and_speed(stream):
    screen = stream()
    history = small_mlp().fit(
        digits(), epochs=3, batch_size=10, validation=digits(300, 350), callbacks=[Progress(screen)], verbose=False
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
    small_mlp().fit(digits(), epochs=3, batch_size=10, callbacks=[Progress(screen)], verbose=False)
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
def test_training_goes_on_when_nobody_reads(fault, live):
    class Closed(io.StringIO):
        def isatty(self):
            return live

        def write(self, text):
            raise fault

    history = small_mlp().fit(digits(), epochs=2, batch_size=10, callbacks=[Progress(Closed())], verbose=False)
    assert len(history) == 2


def test_the_live_line_is_ended_when_training_fails():
    class Fail(Callback):
        def on_epoch_end(self, training, row):
            raise ZeroDivisionError

    screen = Terminal()
    with pytest.raises(ZeroDivisionError):
        small_mlp().fit(digits(), epochs=2, batch_size=10, callbacks=[Progress(screen), Fail()], verbose=False)
    assert screen.getvalue().count("\n") == 1
    assert screen.getvalue().endswith("\n")


def test_pellucid_train_tells_each_epoch_on_stderr_and_json_alone_on_stdout(tmp_path):
    words = [sys.executable, "-m", "pellucid", "train", "digits", "train.epochs=2", "--json", "--out", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT)
    assert [line.partition("  ")[0] for line in done.stderr.splitlines()] == ["epoch 1/2", "epoch 2/2"]
    assert done.stdout.startswith("{")
    assert done.stdout.count("\n") == 1
