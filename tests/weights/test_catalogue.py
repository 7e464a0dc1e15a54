"""The catalogue of published weights: consistent entries, and downloads from a local server."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pellucid.base.errors import PellucidError
from pellucid.models import MODELS
from pellucid.weights import catalogue
from pellucid.weights.catalogue import CATALOGUE, PublishedWeights, find_entry, get
from tests.data.http_site import DATA, Site, serve_site


@pytest.fixture
def site() -> Iterator[Site]:
    with serve_site() as site:
        yield site


def serve_entry(monkeypatch: pytest.MonkeyPatch, site: Site, checksum: str, name: str = "vgg16") -> PublishedWeights:
    """Replace the address and checksum of a catalogue entry by those of the server's file; return the entry."""
    entry = replace(CATALOGUE[name], url=site.url, checksum=checksum)
    monkeypatch.setitem(catalogue.CATALOGUE, name, entry)
    return entry


MD5, SHA256 = (hashlib.new(name, DATA).hexdigest() for name in ("md5", "sha256"))


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=CATALOGUE)
def test_catalogue_entry_is_well_formed(entry):
    assert entry.url.startswith("https://")
    assert entry.file.endswith((".pth", ".h5"))
    assert 1 < entry.megabytes < 600
    assert entry.name.split("-")[0] in MODELS, "the weights are named for the network that they fit"
    if entry.file.endswith(".pth"):
        assert re.fullmatch(r"sha256:([0-9a-f]{8}|[0-9a-f]{64})", entry.checksum)
        assert re.search(r"-([0-9a-f]{8})\.pth", entry.url)[1] == entry.checksum[7:15], "PyTorch's naming rule"
    else:
        assert re.fullmatch(r"md5:[0-9a-f]{32}|", entry.checksum)
        assert entry.name.endswith("-notop") == ("no" in entry.file.rsplit("kernels", 1)[1])
    assert entry.has_complete_checksum == (len(entry.checksum) in (36, 71))


def test_no_two_entries_share_a_file_or_a_checksum():
    entries = CATALOGUE.values()
    assert len({entry.url for entry in entries}) == len(entries)
    checksums = [entry.checksum for entry in entries if entry.checksum]
    assert len(set(checksums)) == len(checksums)


def test_the_url_of_vgg16_is_that_of_pytorch():
    assert find_entry("vgg16").url == "https://download.pytorch.org/models/vgg16-397923af.pth"
    with pytest.raises(PellucidError, match="known as 'vgg-16'; did you mean 'vgg16'"):
        find_entry("vgg-16")


@pytest.mark.parametrize("checksum", [f"sha256:{SHA256}", f"md5:{MD5}"])
def test_a_file_is_downloaded_once(checksum, site, monkeypatch, tmp_path):
    serve_entry(monkeypatch, site, checksum)
    path, status = get("vgg16", tmp_path / "weights")
    assert (path, status) == (tmp_path / "weights" / "file", "downloaded")
    assert path.read_bytes() == DATA
    assert get("vgg16", tmp_path / "weights") == (path, "kept")
    assert len(site.requests) == 1


def test_interrupted_download_is_resumed(site, monkeypatch, tmp_path):
    serve_entry(monkeypatch, site, f"sha256:{SHA256}")
    site.cut_after = [1000, 1000, 1000]
    with pytest.raises(PellucidError, match="cut at 3000"):
        get("vgg16", tmp_path)
    received_bytes: list[int] = []
    get("vgg16", tmp_path, lambda have, total: received_bytes.append(have))
    assert site.requests[-1]["Range"] == "bytes=3000-"
    assert received_bytes[-1] == len(DATA)


def test_a_wrong_file_is_replaced_and_a_wrong_download_is_refused(site, monkeypatch, tmp_path):
    serve_entry(monkeypatch, site, f"sha256:{SHA256}")
    (tmp_path / "file").write_bytes(b"other")
    assert get("vgg16", tmp_path)[1] == "downloaded"
    serve_entry(monkeypatch, site, "md5:" + "0" * 32)
    with pytest.raises(PellucidError, match="wrong checksum"):
        get("vgg16", tmp_path)
    assert (tmp_path / "file").read_bytes() == DATA, "what was there stays"


def test_error_without_network_names_the_path_for_the_file(monkeypatch, tmp_path):
    entry = replace(CATALOGUE["vgg16"], url="http://127.0.0.1:9/vgg16-397923af.pth")  # no server runs on this port
    monkeypatch.setitem(catalogue.CATALOGUE, "vgg16", entry)
    path = re.escape(str(tmp_path / "vgg16-397923af.pth"))
    with pytest.raises(PellucidError, match=f"cannot be downloaded.*put the file at {path} by hand"):
        get("vgg16", tmp_path)


def test_file_without_complete_checksum_must_be_downloaded_manually(site, monkeypatch, tmp_path):
    entry = serve_entry(monkeypatch, site, f"sha256:{SHA256[:8]}")
    with pytest.raises(PellucidError, match=f"fetch {site.url} by hand and put it at {tmp_path / 'file'}$"):
        get("vgg16", tmp_path)
    assert not site.requests
    Path(tmp_path / "file").write_bytes(b"other")
    with pytest.raises(PellucidError, match=r"the file there has another checksum"):
        get("vgg16", tmp_path)
    Path(tmp_path / "file").write_bytes(DATA)
    assert get("vgg16", tmp_path) == (tmp_path / entry.file, "kept")


def test_folder_at_the_path_of_the_file_is_refused(site, monkeypatch, tmp_path):
    serve_entry(monkeypatch, site, f"sha256:{SHA256}")
    (tmp_path / "file").mkdir()
    with pytest.raises(PellucidError, match="cannot be written"):
        get("vgg16", tmp_path)
