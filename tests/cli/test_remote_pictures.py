"""`pellucid predict` on a tar file in a bucket writes the same rows as on a local tar file."""

import tarfile
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.cli.test_many_pictures import TASKS, read_rows, write_folder


def test_a_tar_of_a_bucket_has_the_rows_of_one_on_a_disk(tmp_path: Path, cli: Cli) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    source = write_folder(TASKS["points"][1], tmp_path / "in")
    with tarfile.open(tmp_path / "in.tar", "w") as archive:
        for file in sorted(source.rglob("*.png")):
            archive.add(file, str(file.relative_to(source)))
    memory.pipe("/many/in.tar", (tmp_path / "in.tar").read_bytes())
    try:
        for kind, out in (("memory://many/in.tar", "a.jsonl"), (str(tmp_path / "in.tar"), "b.jsonl")):
            assert cli("predict", "faces", kind, "--out", str(tmp_path / out)).code == 0
    finally:
        memory.store.clear()
    remote, local = read_rows(tmp_path / "a.jsonl"), read_rows(tmp_path / "b.jsonl")
    assert [row.pop("error", "").replace("memory://many", str(tmp_path)) for row in remote] == [
        row.pop("error", "") for row in local
    ]
    assert remote == local
    assert len(local) > 4
