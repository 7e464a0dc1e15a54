"""Atomic writing: after any failure, a file has either its old or its new content."""

import errno
import os
from pathlib import Path

import pytest

from pellucid.base.errors import PellucidError
from pellucid.base.files import copy_file, open_regular, read_regular, remove_orphans, write_atomically
from pellucid.data import load_image
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


def test_a_writer_that_dies_leaves_the_old_file_unchanged(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_atomically(path, b"old")
    monkeypatch.setattr(os, "fsync", lambda handle: (_ for _ in ()).throw(KeyboardInterrupt))  # during writing
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"half of the new")
    assert path.read_bytes() == b"old"
    assert len(os.listdir(tmp_path)) == 2
    remove_orphans(tmp_path)
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_full_disk_is_reported_in_one_line_and_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_atomically(path, b"old")

    def raise_disk_full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", raise_disk_full)
    with pytest.raises(PellucidError, match=r"a\.txt cannot be written \(No space left on device\)"):
        write_atomically(path, b"new")
    assert os.listdir(tmp_path) == ["a.txt"]
    assert path.read_bytes() == b"old"


def test_a_missing_folder_is_reported_in_one_line(tmp_path):
    with pytest.raises(PellucidError, match="cannot be written"):
        write_atomically(tmp_path / "no" / "a.txt", b"")


@pytest.fixture
def two_files_folder(tmp_path):
    """A folder with the file `last`, to be copied to the existing file `previous`."""
    (tmp_path / "last").write_bytes(b"new")
    (tmp_path / "previous").write_bytes(b"old")
    return tmp_path


def contents(folder):
    return {name: (folder / name).read_bytes() for name in os.listdir(folder)}


def raises_os_error(number):
    def fail(*args):
        raise OSError(number, os.strerror(number))

    return fail


def test_copy_file_gives_a_file_a_second_name(two_files_folder):
    for _ in range(2):  # the second time, both names are already the same file
        copy_file(two_files_folder / "last", two_files_folder / "previous")
        assert contents(two_files_folder) == {"last": b"new", "previous": b"new"}
        assert (two_files_folder / "last").samefile(two_files_folder / "previous")
    copy_file(two_files_folder / "none", two_files_folder / "previous")
    assert contents(two_files_folder) == {"last": b"new", "previous": b"new"}


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV])
def test_a_file_is_moved_if_hard_links_are_not_supported(two_files_folder, monkeypatch, number):
    monkeypatch.setattr(os, "link", raises_os_error(number))
    copy_file(two_files_folder / "last", two_files_folder / "previous")
    assert contents(two_files_folder) == {"previous": b"new"}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EDQUOT])
def test_another_error_of_linking_is_reported_in_one_line_and_moves_nothing(two_files_folder, monkeypatch, number):
    monkeypatch.setattr(os, "link", raises_os_error(number))
    with pytest.raises(PellucidError, match=rf"previous cannot be written \({os.strerror(number)}\)"):
        copy_file(two_files_folder / "last", two_files_folder / "previous")
    assert contents(two_files_folder) == {"last": b"new", "previous": b"old"}


def test_a_link_that_cannot_be_renamed_is_reported_and_removed(two_files_folder, monkeypatch):
    monkeypatch.setattr(Path, "replace", raises_os_error(errno.EIO))
    with pytest.raises(PellucidError, match="previous cannot be written"):
        copy_file(two_files_folder / "last", two_files_folder / "previous")
    assert contents(two_files_folder) == {"last": b"new", "previous": b"old"}


def test_a_failing_move_is_reported_in_one_line(two_files_folder, monkeypatch):
    monkeypatch.setattr(os, "link", raises_os_error(errno.EPERM))
    monkeypatch.setattr(Path, "replace", raises_os_error(errno.EACCES))
    with pytest.raises(PellucidError, match="previous cannot be written"):
        copy_file(two_files_folder / "last", two_files_folder / "previous")
    assert contents(two_files_folder) == {"last": b"new", "previous": b"old"}


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
