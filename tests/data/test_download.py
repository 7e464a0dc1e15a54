"""Data sets are brought from their sites, and those that are there are checked."""

import hashlib
from dataclasses import replace

import pytest
import torch

from pellucid.data import CATALOGUE, catalogue, check, get, load, write_idx
from pellucid.errors import PellucidError
from tests.data.http_site import Site
from tests.data.pictures import picture_bytes


@pytest.fixture
def small_mnist(site, tmp_path, monkeypatch) -> Site:
    """Let mnist be four small files that all live at the site."""
    write_idx(tmp_path / "one.gz", torch.zeros(3, 28, 28, dtype=torch.uint8))
    site.data = (tmp_path / "one.gz").read_bytes()
    entry = CATALOGUE["mnist"]
    md5 = hashlib.md5(site.data).hexdigest()
    sources = tuple(replace(s, url=site.url, md5=md5, size=len(site.data), sha256="") for s in entry.sources)
    monkeypatch.setitem(catalogue.CATALOGUE, "mnist", replace(entry, sources=sources))
    return site


def test_get_brings_what_is_missing_and_keeps_what_is_right(small_mnist, tmp_path):
    assert [status for _, status in check("mnist", tmp_path)] == ["missing"] * 4
    seen: set[str] = set()
    done = get("mnist", tmp_path, progress=lambda file, have, total: seen.add(file))
    assert [status for _, status in done] == ["downloaded"] * 4
    assert seen == {source.file for source in CATALOGUE["mnist"].sources}
    assert [status for _, status in check("mnist", tmp_path)] == ["ok"] * 4
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz").write_bytes(b"broken")
    assert [status[:12] for _, status in check("mnist", tmp_path)][:3] == ["ok"] * 3
    assert "wrong checksum" in check("mnist", tmp_path)[3][1]
    assert [status for _, status in get("mnist", tmp_path)] == ["kept"] * 3 + ["downloaded"]
    assert len(small_mnist.asked) == 5


def test_get_and_check_of_the_other_kinds(tree, tmp_path):
    assert get("digits", tmp_path) == [("digits", "bundled")]
    assert check("digits", tmp_path) == [("digits", "ok")]
    with pytest.raises(PellucidError, match=str(tmp_path / "cifar10" / "cifar10.zip")):
        get("cifar10", tmp_path)
    assert check("signs", tmp_path) == [(str(tmp_path / "signs"), "missing")]
    path = tree("signs", {"train/0/a.png": picture_bytes((9, 9, 9)), "val/0/b.png": picture_bytes((0, 0, 0))})
    assert check("signs", tmp_path) == [(str(path), "ok: 2 files")]
    for unknown in (get, check, load):
        with pytest.raises(PellucidError, match="unknown data set"):
            unknown("sings", tmp_path)


def test_check_finds_a_damaged_member(tree, tmp_path):
    (tmp_path / "cifar10").mkdir()
    path = tree("cifar10/cifar10.zip", {"train/0/a.png": picture_bytes((9, 9, 9))})
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)
    assert "train/0/a.png cannot be unpacked" in check("cifar10", tmp_path)[0][1]


@pytest.mark.real
def test_the_real_mnist_is_the_published_one(real):
    real("mnist")
    assert [status for _, status in check("mnist")] == ["ok"] * 4


@pytest.mark.real
def test_every_file_of_the_real_cifar10_has_its_crc(real):
    place = real("cifar10/cifar10.zip")
    assert check("cifar10") == [(str(place), "ok: 60000 files")]
