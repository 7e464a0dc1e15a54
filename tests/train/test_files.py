"""Atomic writing: the old file or the new one, and nothing in between."""

import os

import pytest

from pellucid.errors import PellucidError
from pellucid.train.files import remove_orphans, write_atomically


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


def test_a_full_disk_is_one_line_and_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_atomically(path, b"old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PellucidError, match=r"a\.txt cannot be written \(No space left on device\)"):
        write_atomically(path, b"new")
    assert os.listdir(tmp_path) == ["a.txt"]
    assert path.read_bytes() == b"old"


def test_a_folder_that_is_missing_is_one_line(tmp_path):
    with pytest.raises(PellucidError, match="cannot be written"):
        write_atomically(tmp_path / "no" / "a.txt", b"")
