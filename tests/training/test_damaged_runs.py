"""Damaged, missing and misplaced files in a run folder: resuming works, or is refused in one line."""

import errno
import os
from pathlib import Path

import pytest

from pellucid.base import files
from pellucid.base.errors import PellucidError
from pellucid.model import Model
from pellucid.run.folder import RunFolder
from pellucid.run.weights import read_weights, write_weights
from pellucid.training import checkpoint, loop
from pellucid.training.callbacks import EarlyStopping
from tests.training.small import StopAt, Stopped, small_conv, small_mlp
from tests.training.test_resume import train


def damage(file):
    """Flip a bit in a new copy of the file, so that other hard links to it keep the intact contents."""
    data = bytearray(file.read_bytes())
    data[-5] ^= 4
    file.unlink()
    file.write_bytes(data)


def stopped_run(path, step=27):
    """Stop a training by an error in its third epoch, after checkpoints at steps 10 and 20; return the run folder."""
    with pytest.raises(Stopped):
        train(small_conv(), path, callbacks=[StopAt(step)])
    return RunFolder(path)


@pytest.fixture
def checkpoint_every_epoch(monkeypatch):
    monkeypatch.setattr(loop, "SAVE_INTERVAL", 0)  # save a checkpoint after every epoch, however short


DAMAGES = {"changed": damage, "cut": lambda file: os.truncate(file, 100), "missing": Path.unlink}
DAMAGES |= {"empty": lambda file: file.write_bytes(b""), "a pipe": lambda file: (file.unlink(), os.mkfifo(file))}


@pytest.mark.parametrize("kind", ["changed", "missing", "a pipe"])
def test_a_damaged_checkpoint_is_replaced_by_the_previous_one(tmp_path, capsys, checkpoint_every_epoch, kind):
    folder = stopped_run(tmp_path)
    assert checkpoint.SavedState(folder.previous).progress["step"] == 10
    DAMAGES[kind](folder.last)
    uninterrupted, resumed = small_conv(), small_conv()
    train(uninterrupted, None)
    capsys.readouterr()
    history = train(resumed, tmp_path, resume=True, callbacks=[StopAt(-1)])
    note = capsys.readouterr().err
    assert note.count("\n") == 1
    assert "last.safetensors is " in note
    assert "continuing from the checkpoint before it" in note
    assert ("the damaged file is kept as last-1.safetensors" in note) == (kind != "missing")
    assert resumed.sha256() == uninterrupted.sha256()
    assert history["epoch"] == [1, 2, 3, 4]
    assert checkpoint.SavedState(folder.previous).progress["step"] == 30


def test_finding_the_previous_checkpoint_changes_no_file_and_adopting_it_keeps_the_damaged_one(
    tmp_path, checkpoint_every_epoch
):
    folder = stopped_run(tmp_path)
    damage(folder.last)
    damaged, good = folder.last.read_bytes(), folder.previous.read_bytes()
    result = checkpoint.SavedState.find(folder)
    assert result is not None
    assert result.progress["step"] == 10
    assert (folder.last.read_bytes(), folder.previous.read_bytes()) == (damaged, good)
    result.restore_files(folder)
    assert folder.last.read_bytes() == good
    assert (folder.weights / "last-1.safetensors").read_bytes() == damaged
    assert not folder.previous.exists()


def file_contents(folder):
    return {file.name: file.read_bytes() for file in folder.weights.iterdir()}


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("was begun with other settings: batch size", {"batch_size": 31}),
        ("was begun with the callbacks", {"callbacks": [EarlyStopping(3)]}),
    ],
)
def test_a_refused_resumption_leaves_all_checkpoints_unchanged(tmp_path, checkpoint_every_epoch, message, options):
    folder = stopped_run(tmp_path)
    damage(folder.last)
    before = file_contents(folder)
    with pytest.raises(PellucidError, match=message):
        train(small_conv(), tmp_path, resume=True, **options)
    assert file_contents(folder) == before


@pytest.mark.parametrize("name", ["last", "best"])
@pytest.mark.parametrize("error_number", [errno.EIO, errno.EACCES])
def test_an_unreadable_weights_file_is_refused_and_kept(
    tmp_path, monkeypatch, checkpoint_every_epoch, name, error_number
):
    folder = stopped_run(tmp_path)
    if name == "best":
        train(small_conv(), tmp_path, resume=True)  # the run is finished, so resuming only reads its files
    before, real_open = file_contents(folder), Path.open

    def failing_open(self, *args, **options):
        if self == getattr(folder, name):
            raise OSError(error_number, os.strerror(error_number))
        return real_open(self, *args, **options)

    monkeypatch.setattr(Path, "open", failing_open)
    with pytest.raises(PellucidError, match=rf"{name}\.safetensors cannot be read .*{os.strerror(error_number)}"):
        train(small_conv(), tmp_path, resume=True)
    monkeypatch.undo()
    assert file_contents(folder) == before
    train(small_conv(), tmp_path, resume=True)


def test_without_a_readable_checkpoint_the_run_is_refused_and_kept(tmp_path, checkpoint_every_epoch):
    folder = stopped_run(tmp_path)
    damage(folder.last)
    damage(folder.previous)
    with pytest.raises(PellucidError, match=r"last\.safetensors is damaged .*previous\.safetensors is damaged"):
        train(small_conv(), tmp_path, resume=True)
    assert folder.last.exists()
    assert folder.previous.exists()


def test_restarting_from_the_beginning_is_reported_and_keeps_the_history(tmp_path, capsys, checkpoint_every_epoch):
    folder = stopped_run(tmp_path)
    earlier_files = {file.name: file.read_bytes() for file in (folder.metrics, folder.layers, folder.best)}
    folder.last.unlink()
    folder.previous.unlink()
    capsys.readouterr()
    uninterrupted, restarted = small_conv(), small_conv()
    train(uninterrupted, None)
    train(restarted, tmp_path, resume=True)
    assert f"{folder.last} is missing: the training begins again at its first step" in capsys.readouterr().err
    assert restarted.sha256() == uninterrupted.sha256()
    for name, data in earlier_files.items():
        stem, suffix = name.split(".")
        (kept_file,) = tmp_path.rglob(f"{stem}-1.{suffix}")
        assert kept_file.read_bytes() == data


def test_a_new_training_prints_no_note(tmp_path, capsys):
    train(small_mlp(), tmp_path, resume=True)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("has_validation", [True, False])
def test_best_weights_of_a_finished_run_are_repaired_from_the_last(tmp_path, capsys, kind, has_validation):
    options = {} if has_validation else {"validation": None}
    train(small_mlp(), tmp_path, **options)
    folder = RunFolder(tmp_path)
    last = Model.load(folder.last).sha256()
    DAMAGES[kind](folder.best)
    train(small_mlp(), tmp_path, resume=True, **options)
    note = capsys.readouterr().err
    assert "best.safetensors is " in note
    assert "the last weights were written in its place" in note
    assert Model.load(folder.best).sha256() == last


def test_without_hard_links_the_last_checkpoint_is_moved(tmp_path, monkeypatch, checkpoint_every_epoch):
    def refuse(path, other):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(files.os, "link", refuse)
    folder = stopped_run(tmp_path)
    steps = [checkpoint.SavedState(file).progress["step"] for file in (folder.previous, folder.last)]
    assert steps == [10, 20]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*checkpoint._TRAINING_FIELDS, *checkpoint._PROGRESS_TYPES])
def test_an_invalid_entry_of_a_checkpoint_is_reported_in_one_line(tmp_path, name):
    train(small_mlp(), tmp_path)
    last = RunFolder(tmp_path).last
    tensors, about = read_weights(last)
    write_weights(last, tensors, {**about, "progress": {**about["progress"], name: None}})
    with pytest.raises(PellucidError, match=rf"last\.safetensors: {name} is invalid; start a new run"):
        train(small_mlp(), tmp_path, resume=True)


FOREIGN_FILES = {
    "resumed is a number": (
        "manifest.json",
        lambda file: file.write_text('{"resumed": 5}'),
        '"resumed" must be a list',
    ),
    "manifest is a pipe": ("manifest.json", lambda file: (file.unlink(), os.mkfifo(file)), "not a regular file"),
    "manifest is no UTF-8": ("manifest.json", lambda file: file.write_bytes(b'"\xff"'), "cannot be read"),
    "lock is a pipe": ("lock", lambda file: (file.unlink(), os.mkfifo(file)), "lock is not a regular file"),
    "lock is a folder": ("lock", lambda file: (file.unlink(), file.mkdir()), "cannot be written"),
    "lock is a device": ("lock", lambda file: (file.unlink(), file.symlink_to("/dev/null")), "cannot be written"),
    "last is a folder": ("weights/last.safetensors", lambda file: (file.unlink(), file.mkdir()), "is not a file"),
}


@pytest.mark.parametrize("name", FOREIGN_FILES)
def test_a_foreign_file_is_reported_in_one_line(tmp_path, name):
    train(small_mlp(), tmp_path, epochs=1)
    file, replace_file, message = FOREIGN_FILES[name]
    RunFolder(tmp_path).previous.unlink(missing_ok=True)
    replace_file(tmp_path / file)
    with pytest.raises(PellucidError, match=message) as error:
        train(small_mlp(), tmp_path, epochs=1, resume=True)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_lock_that_is_a_link_is_refused_and_its_target_unchanged(tmp_path):
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/lock").symlink_to(tmp_path / "precious")
    with pytest.raises(PellucidError, match="cannot be written"), RunFolder(tmp_path / "run"):
        pass
    assert (tmp_path / "precious").read_text() == "kept"


@pytest.mark.parametrize("make_file", [Path.mkdir, lambda file: file.symlink_to("/etc/passwd"), os.mkfifo])
@pytest.mark.parametrize("folder", ["", "weights"])
def test_files_named_like_temporary_files_do_not_prevent_writing(tmp_path, make_file, folder):
    train(small_mlp(), tmp_path, epochs=1)
    for name in ("metrics.csv", "last.safetensors", "previous.safetensors", "manifest.json"):
        make_file(tmp_path / folder / f".{name}.{os.getpid()}.tmp")
    first, second = small_mlp(), small_mlp()
    train(first, tmp_path, epochs=1, resume=True)
    (tmp_path / "weights/last.safetensors").unlink()
    RunFolder(tmp_path).previous.unlink(missing_ok=True)
    train(second, tmp_path, epochs=1, resume=True)
    assert second.sha256() == first.sha256()
