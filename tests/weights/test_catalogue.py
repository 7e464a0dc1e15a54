"""The published weights: a table that is right in itself, and downloads from a server of our own."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pellucid.errors import PellucidError
from pellucid.models import MODELS
from pellucid.weights import catalogue
from pellucid.weights.catalogue import CATALOGUE, Published, find, get
from tests.data.http_site import DATA, Site, serving


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as site:
        yield site


def offered(monkeypatch: pytest.MonkeyPatch, site: Site, checksum: str, name: str = "vgg16") -> Published:
    """Let a name of the catalogue stand for the server's file."""
    entry = replace(CATALOGUE[name], url=site.url, checksum=checksum)
    monkeypatch.setitem(catalogue.CATALOGUE, name, entry)
    return entry


MD5, SHA256 = (hashlib.new(name, DATA).hexdigest() for name in ("md5", "sha256"))


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=CATALOGUE)
def test_each_entry_is_well_formed(entry):
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
    assert entry.complete == (len(entry.checksum) in (36, 71))


def test_no_two_entries_share_a_file_or_a_checksum():
    entries = CATALOGUE.values()
    assert len({entry.url for entry in entries}) == len(entries)
    sums = [entry.checksum for entry in entries if entry.checksum]
    assert len(set(sums)) == len(sums)


def test_the_address_of_vgg16_is_the_official_one():
    assert find("vgg16").url == "https://download.pytorch.org/models/vgg16-397923af.pth"
    with pytest.raises(PellucidError, match="known as 'vgg-16'; did you mean 'vgg16'"):
        find("vgg-16")


@pytest.mark.parametrize("checksum", [f"sha256:{SHA256}", f"md5:{MD5}"])
def test_a_file_is_downloaded_once(checksum, site, monkeypatch, tmp_path):
    offered(monkeypatch, site, checksum)
    path, status = get("vgg16", tmp_path / "weights")
    assert (path, status) == (tmp_path / "weights" / "file", "downloaded")
    assert path.read_bytes() == DATA
    assert get("vgg16", tmp_path / "weights") == (path, "kept")
    assert len(site.asked) == 1


def test_a_cut_download_goes_on(site, monkeypatch, tmp_path):
    offered(monkeypatch, site, f"sha256:{SHA256}")
    site.cuts = [1000, 1000, 1000]
    with pytest.raises(PellucidError, match="cut at 3000"):
        get("vgg16", tmp_path)
    seen: list[int] = []
    get("vgg16", tmp_path, lambda have, total: seen.append(have))
    assert site.asked[-1]["Range"] == "bytes=3000-"
    assert seen[-1] == len(DATA)


def test_a_wrong_file_is_replaced_and_a_wrong_download_refused(site, monkeypatch, tmp_path):
    offered(monkeypatch, site, f"sha256:{SHA256}")
    (tmp_path / "file").write_bytes(b"other")
    assert get("vgg16", tmp_path)[1] == "downloaded"
    offered(monkeypatch, site, "md5:" + "0" * 32)
    with pytest.raises(PellucidError, match="wrong checksum"):
        get("vgg16", tmp_path)
    assert (tmp_path / "file").read_bytes() == DATA, "what was there stays"


def test_without_a_network_the_error_says_where_to_put_the_file(monkeypatch, tmp_path):
    closed = replace(CATALOGUE["vgg16"], url="http://127.0.0.1:9/vgg16-397923af.pth")  # where nobody listens
    monkeypatch.setitem(catalogue.CATALOGUE, "vgg16", closed)
    path = re.escape(str(tmp_path / "vgg16-397923af.pth"))
    with pytest.raises(PellucidError, match=f"cannot be downloaded.*put the file at {path} by hand"):
        get("vgg16", tmp_path)


def test_what_has_no_whole_checksum_is_not_downloaded_but_taken_from_people(site, monkeypatch, tmp_path):
    entry = offered(monkeypatch, site, f"sha256:{SHA256[:8]}")
    with pytest.raises(PellucidError, match=f"fetch {site.url} by hand and put it at {tmp_path / 'file'}$"):
        get("vgg16", tmp_path)
    assert not site.asked
    Path(tmp_path / "file").write_bytes(b"other")
    with pytest.raises(PellucidError, match=r"the file there has another checksum"):
        get("vgg16", tmp_path)
    Path(tmp_path / "file").write_bytes(DATA)
    assert get("vgg16", tmp_path) == (tmp_path / entry.file, "kept")


def test_a_folder_in_the_place_of_the_file_is_no_file(site, monkeypatch, tmp_path):
    offered(monkeypatch, site, f"sha256:{SHA256}")
    (tmp_path / "file").mkdir()
    with pytest.raises(PellucidError, match="cannot be written"):
        get("vgg16", tmp_path)
