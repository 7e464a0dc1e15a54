"""The catalogue of data sets: loading by name, downloads, and checksums of the published files."""

import gzip
import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.data import CATALOGUE, catalogue, check, data_root, get, load, write_idx
from tests.data.http_site import Site
from tests.data.pictures import picture_bytes


def test_digits_need_no_files_and_hold_out_a_fifth(tmp_path):
    from sklearn.datasets import load_digits

    parts = load("digits", root=tmp_path)
    assert (len(parts.train), len(parts.test)) == (1438, 359)
    assert tuple(parts.train.x.shape[1:]) == (1, 8, 8)
    source = {row.tobytes(): label for row, label in zip(*load_digits(return_X_y=True), strict=True)}
    for part in (parts.train, parts.test):
        pixels = (part.x * 16).reshape(-1, 64).double().numpy()
        assert [source[row.tobytes()] for row in pixels] == part.y.tolist()
    held_out_fraction = torch.bincount(parts.test.y) / torch.bincount(torch.cat((parts.train.y, parts.test.y)))
    assert torch.allclose(held_out_fraction, torch.tensor(0.2), atol=0.005)
    assert parts.test.checksum == load("digits").test.checksum


def test_catalogue_entries_have_names_urls_and_checksums():
    for name, entry in CATALOGUE.items():
        assert entry.name == name
        for source in entry.sources:
            assert source.url.endswith(source.file)
            assert len(source.md5) == 32
            assert len(source.sha256) in (0, 64)


def write_idx_set(folder: Path, n: int = 4) -> None:
    folder.mkdir()
    for k, source in enumerate(CATALOGUE["fashion-mnist"].sources):
        values = torch.arange(n) % 10 if k % 2 else torch.full((n, 28, 28), 50 * k)
        write_idx(folder / source.file, values.to(torch.uint8))


def set_checksums(folder: Path, monkeypatch: pytest.MonkeyPatch, **sums: str) -> None:
    """Set the checksums of the catalogue to those of the files in `folder`."""
    import hashlib

    entry = CATALOGUE["fashion-mnist"]
    sources = []
    for source in entry.sources:
        data = (folder / source.file).read_bytes()
        sha256 = hashlib.sha256(gzip.decompress(data)).hexdigest() if sums else ""
        sources.append(replace(source, md5=hashlib.md5(data).hexdigest(), sha256=sha256))
    monkeypatch.setitem(catalogue.CATALOGUE, entry.name, replace(entry, sources=tuple(sources)))


@pytest.mark.parametrize("sums", [{}, {"sha256": "known"}])
def test_idx_data_sets_are_loaded_and_changed_bytes_are_refused(tmp_path, monkeypatch, sums):
    folder = tmp_path / "fashion-mnist"
    write_idx_set(folder)
    set_checksums(folder, monkeypatch, **sums)
    parts = load("fashion-mnist", root=tmp_path)
    assert tuple(parts.train.x.shape) == (4, 1, 28, 28)
    assert parts.test.x.unique().tolist() == [100]
    assert parts.train.y.tolist() == [0, 1, 2, 3]
    assert parts.train.classes[9] == "ankle boot"
    write_idx(folder / "t10k-labels-idx1-ubyte.gz", torch.tensor([1, 2, 3, 4], dtype=torch.uint8))
    with pytest.raises(PellucidError, match=r"t10k-labels-idx1-ubyte\.gz has the wrong checksum"):
        load("fashion-mnist", root=tmp_path)


def test_recompressed_files_with_the_published_content_are_accepted(tmp_path, monkeypatch):
    folder = tmp_path / "fashion-mnist"
    write_idx_set(folder)
    set_checksums(folder, monkeypatch, sha256="known")
    for source in CATALOGUE["fashion-mnist"].sources:
        path = folder / source.file
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), 1))
    assert len(load("fashion-mnist", root=tmp_path).train) == 4


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_error_for_missing_files_names_their_folder(tmp_path, name):
    with pytest.raises(PellucidError) as info:
        load(name, root=tmp_path)
    for message in (f"pellucid data get {name}", str(tmp_path / name / "train-images-idx3-ubyte.gz"), "http"):
        assert message in str(info.value)


@pytest.mark.parametrize("name", ["cifar10", "signs"])
def test_the_error_for_data_sets_without_a_download_names_their_folder(tmp_path, name):
    with pytest.raises(PellucidError) as info:
        load(name, root=tmp_path)
    assert str(tmp_path / CATALOGUE[name].path) in str(info.value)
    assert "CLASS/*.jpg" in str(info.value)


def test_image_sets_are_loaded_from_the_root(write_tree, tmp_path):
    write_tree("signs", {"train/0/a.png": picture_bytes((9, 9, 9)), "val/0/b.png": picture_bytes((0, 0, 0))})
    parts = load("signs", root=tmp_path, size=(3, 3), mode="L")
    assert parts.train.name == "signs"
    assert parts.train.x.unique().tolist() == [9]
    assert tuple(parts.test.x.shape) == (1, 1, 3, 3)


def test_a_path_is_loaded_as_an_image_folder(write_tree, tmp_path, monkeypatch):
    files = {f"{c}/{i}.png": picture_bytes((i, 0, 0)) for c in "ab" for i in range(5)}
    assert load(str(write_tree("mine", files))).train.classes == ("a", "b")
    assert len(load(str(write_tree("mine.zip", files))).test) == 2
    monkeypatch.chdir(tmp_path)
    assert len(load("mine").test) == 2
    with pytest.raises(PellucidError, match="is missing"):
        load(str(tmp_path / "none"))


@pytest.mark.parametrize(("name", "meant"), [("mnits", "mnist"), ("fashion", "fashion-mnist"), ("cifar", "cifar10")])
def test_the_error_for_an_unknown_name_suggests_the_nearest(name, meant):
    with pytest.raises(PellucidError, match=f"did you mean '{meant}'"):
        load(name)


def test_a_size_is_only_accepted_for_image_folders():
    with pytest.raises(PellucidError, match="leave out size"):
        load("digits", size=(16, 16))


def test_data_root_prefers_argument_over_variable_over_shared_folder_over_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PELLUCID_DATA", "/named")
    assert data_root("/explicit") == Path("/explicit")
    assert data_root() == Path("/named")
    monkeypatch.delenv("PELLUCID_DATA")
    monkeypatch.setattr(catalogue, "__file__", str(tmp_path / "checkout" / "pellucid" / "data" / "catalogue.py"))
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert data_root() == Path("/cache/pellucid/data")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", "/home/me")
    assert data_root() == Path("/home/me/.cache/pellucid/data")
    (tmp_path / "shared" / "data").mkdir(parents=True)
    assert data_root() == tmp_path / "shared" / "data"


@pytest.mark.real
def test_mnist_has_its_published_counts(real_data):
    real_data("mnist")
    parts = load("mnist")
    assert (len(parts.train), len(parts.test)) == (60000, 10000)
    assert parts.train.x.dtype == torch.uint8
    # The usual constants for normalizing MNIST.
    pixels = parts.train.x.numpy() / np.float64(255)
    np.testing.assert_allclose([pixels.mean(), pixels.std()], [0.1307, 0.3081], atol=5e-5)


@pytest.mark.real
def test_fashion_mnist_has_its_published_counts(real_data):
    real_data("fashion-mnist")
    assert torch.bincount(load("fashion-mnist").train.y).tolist() == [6000] * 10


@pytest.fixture
def small_mnist(site, tmp_path, monkeypatch) -> Site:
    """Replace the four files of mnist in the catalogue by a small file that the server sends for each."""
    write_idx(tmp_path / "one.gz", torch.zeros(3, 28, 28, dtype=torch.uint8))
    site.data = (tmp_path / "one.gz").read_bytes()
    entry = CATALOGUE["mnist"]
    md5 = hashlib.md5(site.data).hexdigest()
    sources = tuple(replace(s, url=site.url, md5=md5, size=len(site.data), sha256="") for s in entry.sources)
    monkeypatch.setitem(catalogue.CATALOGUE, "mnist", replace(entry, sources=sources))
    return site


def test_get_downloads_missing_files_and_keeps_correct_ones(small_mnist, tmp_path):
    assert [status for _, status in check("mnist", tmp_path)] == ["missing"] * 4
    reported_files: set[str] = set()
    done = get("mnist", tmp_path, progress=lambda file, have, total: reported_files.add(file))
    assert [status for _, status in done] == ["downloaded"] * 4
    assert reported_files == {source.file for source in CATALOGUE["mnist"].sources}
    assert [status for _, status in check("mnist", tmp_path)] == ["ok"] * 4
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz").write_bytes(b"broken")
    assert [status[:12] for _, status in check("mnist", tmp_path)][:3] == ["ok"] * 3
    assert "wrong checksum" in check("mnist", tmp_path)[3][1]
    assert [status for _, status in get("mnist", tmp_path)] == ["kept"] * 3 + ["downloaded"]
    assert len(small_mnist.requests) == 5


def test_get_and_check_handle_every_kind_of_data_set(write_tree, tmp_path):
    assert get("digits", tmp_path) == [("digits", "bundled")]
    assert check("digits", tmp_path) == [("digits", "ok")]
    with pytest.raises(PellucidError, match=str(tmp_path / "cifar10" / "cifar10.zip")):
        get("cifar10", tmp_path)
    assert check("signs", tmp_path) == [(str(tmp_path / "signs"), "missing")]
    path = write_tree("signs", {"train/0/a.png": picture_bytes((9, 9, 9)), "val/0/b.png": picture_bytes((0, 0, 0))})
    assert check("signs", tmp_path) == [(str(path), "ok: 2 files")]
    for function in (get, check, load):
        with pytest.raises(PellucidError, match="unknown data set"):
            function("sings", tmp_path)


def test_check_finds_a_damaged_member(write_tree, tmp_path):
    (tmp_path / "cifar10").mkdir()
    path = write_tree("cifar10/cifar10.zip", {"train/0/a.png": picture_bytes((9, 9, 9))})
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)
    assert "train/0/a.png cannot be unpacked" in check("cifar10", tmp_path)[0][1]


@pytest.mark.real
def test_the_real_mnist_has_the_published_checksums(real_data):
    real_data("mnist")
    assert [status for _, status in check("mnist")] == ["ok"] * 4


@pytest.mark.real
def test_every_file_of_the_real_cifar10_has_the_right_crc(real_data):
    path = real_data("cifar10/cifar10.zip")
    assert check("cifar10") == [(str(path), "ok: 60000 files")]
