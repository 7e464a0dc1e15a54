"""Downloads of a recipe's data set before training: one line of progress, and an error without a network."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pellucid.cli.main import main
from pellucid.data import catalogue, write_idx
from pellucid.recipe.material import fetch_missing
from tests.data.http_site import Site, serve_site

MNIST_FILES = [source.file for source in catalogue.CATALOGUE["mnist"].sources]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Serve the same small idx file for each of the four files of mnist."""
    write_idx(tmp_path / "one.gz", torch.zeros(3, 28, 28, dtype=torch.uint8))
    with serve_site() as site:
        site.data = (tmp_path / "one.gz").read_bytes()
        serve_mnist_at(site.url, site.data, monkeypatch)
        yield site


def serve_mnist_at(url: str, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    entry, md5 = catalogue.CATALOGUE["mnist"], hashlib.md5(data).hexdigest()
    sources = tuple(replace(s, url=f"{url}/{s.file}", md5=md5, size=len(data), sha256="") for s in entry.sources)
    monkeypatch.setitem(catalogue.CATALOGUE, "mnist", replace(entry, sources=sources))


def test_missing_files_are_downloaded_after_one_line(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    fetch_missing("mnist", tmp_path)
    line = f"pellucid: mnist is missing: downloading 0.0 MB from {site.url} to {tmp_path / 'mnist'}\n"
    assert capsys.readouterr().err == line
    assert sorted(file.name for file in (tmp_path / "mnist").iterdir()) == sorted(MNIST_FILES)
    (tmp_path / "mnist" / MNIST_FILES[0]).unlink()
    fetch_missing("mnist", tmp_path)
    assert (len(site.requests), capsys.readouterr().err) == (5, line)
    fetch_missing("mnist", tmp_path)
    assert (len(site.requests), capsys.readouterr().err) == (5, "")


def test_the_line_has_the_size_and_site_of_the_catalogue(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["train", "mnist-lenet", "--data", str(tmp_path)]) == 2
    first, second = capsys.readouterr().err.splitlines()
    folder = tmp_path / "mnist"
    assert first == (
        "pellucid: mnist is missing: downloading 11.6 MB from https://ossci-datasets.s3.amazonaws.com/mnist to "
        f"{folder}"
    )
    assert "tests have no network" in second


@pytest.mark.parametrize("verb", ["train", "find-lr"])
def test_the_error_without_a_network_names_the_files_and_their_folder(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    serve_mnist_at("http://127.0.0.1:9", b"", monkeypatch)  # the port refuses connections
    assert main([verb, "mnist-mlp", "--data", str(tmp_path)]) == 2
    _, line = capsys.readouterr().err.splitlines()
    assert "Connection refused" in line
    assert f"; mnist needs {', '.join(MNIST_FILES)} in {tmp_path / 'mnist'}" in line
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["cifar10", "digits", "xor", "a folder"])
def test_data_without_a_download_site_are_not_fetched(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    fetch_missing(name, tmp_path)
    assert capsys.readouterr().err == ""
    assert [*tmp_path.iterdir()] == []
