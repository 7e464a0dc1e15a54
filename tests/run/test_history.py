"""The history of a training: rows and columns; its CSV files in a run folder: limits on their size, invalid values."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.run import history
from pellucid.run.history import History, read_csv, write_csv
from pellucid.training.callbacks import CSVLog


def write_and_read(tmp_path, text):
    (tmp_path / "metrics.csv").write_text(text)
    return History.read(tmp_path).rows


def test_numbers_texts_and_empty_fields_are_read(tmp_path):
    rows = write_and_read(tmp_path, "epoch,step,lr,train_loss\n1,90,0.5,\n\n2,180,1e-3,inf\n")
    assert rows == [
        {"epoch": 1, "step": 90, "lr": 0.5, "train_loss": None},
        {"epoch": 2, "step": 180, "lr": 0.001, "train_loss": None},
    ]


@pytest.mark.heavy
@pytest.mark.slow
def test_the_history_of_a_long_training_is_read(tmp_path):
    write_csv(tmp_path / "metrics.csv", [{"epoch": epoch} for epoch in range(1, 1501)])
    paths = [f"stage{k}.block.conv.weight" for k in range(360)]
    rows = [
        {"epoch": epoch, "path": path, "grad_norm": epoch / 7, "update_ratio": 1 / (3 * epoch)}
        for epoch in range(1, 1501)
        for path in paths
    ]
    write_csv(tmp_path / "layers.csv", rows)
    assert History.read(tmp_path).layers == rows


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
@pytest.mark.parametrize("line", [b"1,a\n", b"1,a,,\n", b"1,a,0.5,x\n"], ids=["short", "empty", "letters"])
def test_a_file_with_too_many_rows_is_refused_in_little_time_and_memory(tmp_path, line):
    (tmp_path / "metrics.csv").write_text("epoch\n1\n")
    names = [b"epoch", b"path", b"a", b"b"][: line.count(b",") + 1]
    (tmp_path / "layers.csv").write_bytes(b",".join(names) + b"\n" + line * 8_000_000)
    code = (
        "import re, sys, time; from pathlib import Path; from pellucid.base.errors import PellucidError\n"
        "from pellucid.run.history import History\n"
        "try: History.read(sys.argv[1])\n"
        "except PellucidError as error: print(error)\n"
        "print(int(re.search(r'VmHWM:\\s*(\\d+)', Path('/proc/self/status').read_text())[1]) >> 10)\n"
        "print(time.process_time())"
    )
    process = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    message, mebibytes, seconds = process.stdout.splitlines()
    assert "layers.csv cannot be read (it has more than 1,000,000 rows or 4,000,000 values)" in message
    assert int(mebibytes) < 1024
    assert float(seconds) < 10


def test_a_file_with_too_many_bytes_is_refused(tmp_path, monkeypatch):
    (tmp_path / "big.csv").write_bytes(b"epoch\n" + b"1\n" * 100)
    monkeypatch.setattr(history, "MAX_HISTORY_BYTES", 100)
    with pytest.raises(PellucidError, match=r"big\.csv cannot be read \(more than 100 bytes\)"):
        read_csv(tmp_path / "big.csv")


def test_a_binary_file_is_refused(tmp_path):
    (tmp_path / "metrics.csv").write_bytes(b"\xff\xfe\0e")
    with pytest.raises(PellucidError, match=r"metrics\.csv cannot be read"):
        History.read(tmp_path)


@pytest.mark.parametrize("path", ["a\0b", "a\x1b[2J", ""])
def test_an_unprintable_path_is_refused(tmp_path, path):
    (tmp_path / "metrics.csv").write_text("epoch\n1\n")
    (tmp_path / "layers.csv").write_text(f"epoch,path\n1,{path}\n")
    with pytest.raises(PellucidError, match=r"layers\.csv: path is .* in line 2, where training writes text") as info:
        History.read(tmp_path)
    assert str(info.value).isprintable()


HISTORY = History([{"epoch": k, "step": 4 * k, "train_loss": 1 / k} for k in (1, 2, 3)])


@pytest.mark.parametrize("key", [0, 1, 2, -1, -2, -3, np.int64(1), np.uint8(2), torch.tensor(-1)])
def test_an_index_gives_the_row_of_an_epoch(key):
    row = HISTORY[key]
    epoch = (1, 2, 3)[int(key)]
    assert row == {"epoch": epoch, "step": 4 * epoch, "train_loss": 1 / epoch}


def test_a_name_gives_a_column_and_a_slice_gives_rows():
    assert HISTORY["step"] == [4, 8, 12]
    assert [row["epoch"] for row in HISTORY[-2:]] == [2, 3]
    assert HISTORY[5:] == []
    assert [row["epoch"] for row in HISTORY] == [1, 2, 3]
    assert "train_loss" in HISTORY
    assert "val_loss" not in HISTORY
    assert 0 not in HISTORY


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (3, "no row 3; there are 3 epochs, with indices from 0"),
        (-4, "no row -4; there are 3 epochs"),
        (10**30, "no row 1000000000000000000000000000000; there are 3 epochs"),
        ("nope", "no column 'nope'; known: epoch, step, train_loss"),
        ("train_los", "no column 'train_los'; .*did you mean 'train_loss'"),
        ("", "no column ''"),
        (None, "None is neither the name of a column nor the index of an epoch"),
        (1.0, "1.0 is neither"),
        (("epoch", 1), r"\('epoch', 1\) is neither"),
        ([0], r"\[0\] is neither"),
        (np.array([1, 2]), r"array\(\[1, 2\]\) is neither"),
        (b"epoch", "b'epoch' is neither"),
        (object, "<class 'object'> is neither"),
    ],
)
def test_any_other_key_is_refused_in_one_line(key, message):
    with pytest.raises(PellucidError, match=message) as caught:
        HISTORY[key]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", [0, -1, "train_loss", None])
def test_a_history_without_epochs_has_no_key(key):
    with pytest.raises(PellucidError, match=r"there are 0 epochs|known: none yet|is neither"):
        History()[key]
    assert History()[:] == []
    assert "epoch" not in History()


def test_epochs_of_a_later_version_may_have_other_columns(tmp_path):
    history = History([{"epoch": 1, "old": 0.5}])
    log = CSVLog(tmp_path / "metrics.csv")
    training = SimpleNamespace(history=history)
    log.on_start(training)
    for row in ({"epoch": 2, "old": 0.25}, {"epoch": 3, "new": 0.75}, {"epoch": 4, "new": 0.5}):
        log.on_epoch_end(training, history.add(row))
    expected = [
        {"epoch": 1, "old": 0.5, "new": None},
        {"epoch": 2, "old": 0.25, "new": None},
        {"epoch": 3, "old": None, "new": 0.75},
        {"epoch": 4, "old": None, "new": 0.5},
    ]
    assert history.rows == expected
    assert read_csv(tmp_path / "metrics.csv") == expected
    assert history["new"] == [None, None, 0.75, 0.5]
