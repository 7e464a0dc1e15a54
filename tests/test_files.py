"""Atomic writing: the old file or the new one, and nothing in between."""

import errno
import os
from pathlib import Path

import pytest

from pellucid.data import load_image
from pellucid.errors import PellucidError
from pellucid.files import keep_as, open_regular, read_regular, remove_orphans, write_atomically
from pellucid.model import Model
from pellucid.recipe.recipe import load_recipe
from pellucid.tasks.colorize.hints import read_hints
from pellucid.weights import open_weights


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path, durable):
    path = tmp_path / "a.txt"
    for text in (b"old and long", b"new"):
        write_atomically(path, text, durable)
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_writer_that_dies_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_atomically(path, b"old")
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(KeyboardInterrupt))  # dies while writing
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"half of the new")
    assert path.read_bytes() == b"old"
    assert len(os.listdir(tmp_path)) == 2
    remove_orphans(tmp_path)
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_full_disk_is_reported_in_one_line_and_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_atomically(path, b"old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PellucidError, match=r"a\.txt cannot be written \(No space left on device\)"):
        write_atomically(path, b"new")
    assert os.listdir(tmp_path) == ["a.txt"]
    assert path.read_bytes() == b"old"


def test_a_missing_folder_is_reported_in_one_line(tmp_path):
    with pytest.raises(PellucidError, match="cannot be written"):
        write_atomically(tmp_path / "no" / "a.txt", b"")


@pytest.fixture
def two(tmp_path):
    """The folder, and a file to keep in place of another."""
    (tmp_path / "last").write_bytes(b"new")
    (tmp_path / "previous").write_bytes(b"old")
    return tmp_path


def contents(folder):
    return {name: (folder / name).read_bytes() for name in os.listdir(folder)}


def failing(number):
    def fail(*args):
        raise OSError(number, os.strerror(number))

    return fail


def test_a_second_name_keeps_a_file(two):
    for _ in range(2):  # the second time it has that name already
        keep_as(two / "last", two / "previous")
        assert contents(two) == {"last": b"new", "previous": b"new"}
        assert (two / "last").samefile(two / "previous")
    keep_as(two / "none", two / "previous")
    assert contents(two) == {"last": b"new", "previous": b"new"}


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV])
def test_a_file_is_moved_where_there_are_no_second_names(two, monkeypatch, number):
    monkeypatch.setattr(os, "link", failing(number))
    keep_as(two / "last", two / "previous")
    assert contents(two) == {"previous": b"new"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EDQUOT])
def test_another_error_of_linking_is_reported_in_one_line_and_moves_nothing(two, monkeypatch, number):
    monkeypatch.setattr(os, "link", failing(number))
    with pytest.raises(PellucidError, match=rf"previous cannot be written \({os.strerror(number)}\)"):
        keep_as(two / "last", two / "previous")
    assert contents(two) == {"last": b"new", "previous": b"old"}


def test_a_link_that_cannot_be_renamed_is_reported_and_removed(two, monkeypatch):
    monkeypatch.setattr(Path, "replace", failing(errno.EIO))
    with pytest.raises(PellucidError, match="previous cannot be written"):
        keep_as(two / "last", two / "previous")
    assert contents(two) == {"last": b"new", "previous": b"old"}


def test_a_failing_move_is_reported_in_one_line(two, monkeypatch):
    monkeypatch.setattr(os, "link", failing(errno.EPERM))
    monkeypatch.setattr(Path, "replace", failing(errno.EACCES))
    with pytest.raises(PellucidError, match="previous cannot be written"):
        keep_as(two / "last", two / "previous")
    assert contents(two) == {"last": b"new", "previous": b"old"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    pipe = tmp_path / "pipe.toml"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="not a regular file"):
        open_regular(pipe)
    with pytest.raises(OSError, match="not a regular file"):
        read_regular(pipe)
    for read in (load_recipe, read_hints):
        with pytest.raises(PellucidError, match=r"pipe\.toml cannot be read \(not a regular file\)"):
            read(pipe)
    for read in (load_image, open_weights, Model.load):
        with pytest.raises(PellucidError, match=r"pipe\.toml is not a file"):
            read(pipe)
