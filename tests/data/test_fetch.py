"""Downloads from a local server: complete, resumed, interrupted, with a wrong checksum, or refused."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from pellucid.base.errors import PellucidError
from pellucid.data import fetch
from tests.data.http_site import DATA, Site

CHECKSUM = "sha256:" + hashlib.sha256(DATA).hexdigest()
MAX_BYTES = 1 << 20


def file_names(path: Path) -> list[str]:
    return sorted(p.name for p in path.parent.iterdir())


def fetch_error(site: Site, path: Path, checksum: str = CHECKSUM, limit: int = MAX_BYTES) -> str:
    with pytest.raises(PellucidError) as info:
        fetch(site.url, path, checksum, limit, timeout=5)
    assert "\n" not in str(info.value)
    return str(info.value)


def test_a_file_is_downloaded_with_progress(site, tmp_path):
    path = tmp_path / "deep" / "er" / "file"
    reports: list[tuple[int, int | None]] = []
    fetch(site.url, path, "md5:" + hashlib.md5(DATA).hexdigest(), MAX_BYTES, progress=lambda *now: reports.append(now))
    assert path.read_bytes() == DATA
    assert file_names(path) == ["file"]
    assert reports[-1] == (len(DATA), len(DATA))
    assert [n for n, _ in reports] == sorted(n for n, _ in reports)


def test_a_partial_download_is_resumed_by_a_range_request(site, tmp_path):
    (tmp_path / "file.part").write_bytes(DATA[:1000])
    fetch(site.url, tmp_path / "file", CHECKSUM, MAX_BYTES)
    assert (tmp_path / "file").read_bytes() == DATA
    assert site.requests == [{"path": "/file", "Range": "bytes=1000-"}]


def test_a_server_without_ranges_is_read_from_the_start(site, tmp_path):
    site.has_ranges = False
    (tmp_path / "file.part").write_bytes(b"other" * 10)
    fetch(site.url, tmp_path / "file", CHECKSUM, MAX_BYTES)
    assert (tmp_path / "file").read_bytes() == DATA


@pytest.mark.parametrize("ranges", [True, False])
def test_an_interrupted_download_is_resumed_in_the_same_call(site, tmp_path, ranges):
    site.has_ranges, site.cut_after = ranges, [70_000, 20_000]
    fetch(site.url, tmp_path / "file", CHECKSUM, MAX_BYTES)
    assert (tmp_path / "file").read_bytes() == DATA
    assert [ask.get("Range") for ask in site.requests] == [
        None,
        "bytes=70000-",
        f"bytes={90_000 if ranges else 20_000}-",
    ]


def test_after_three_interruptions_the_partial_file_is_kept_for_the_next_call(site, tmp_path):
    site.cut_after = [1000, 1000, 1000]
    message = fetch_error(site, tmp_path / "file")
    assert "cut at 3000 of 256000 bytes" in message
    assert f"put the file at {tmp_path / 'file'} by hand" in message
    assert file_names(tmp_path / "file") == ["file.part"]
    fetch(site.url, tmp_path / "file", CHECKSUM, MAX_BYTES)
    assert site.requests[-1]["Range"] == "bytes=3000-"
    assert file_names(tmp_path / "file") == ["file"]


def test_a_new_version_is_read_from_the_start(site, tmp_path):
    site.etag, site.cut_after = '"one"', [1000, 0, 0]
    fetch_error(site, tmp_path / "file")
    site.etag, site.data = '"two"', DATA[::-1]
    fetch(site.url, tmp_path / "file", "sha256:" + hashlib.sha256(DATA[::-1]).hexdigest(), MAX_BYTES)
    assert site.requests[-1]["If-Range"] == '"one"'
    assert file_names(tmp_path / "file") == ["file"]


def test_a_complete_partial_file_is_only_checked(site, tmp_path):
    (tmp_path / "file.part").write_bytes(DATA)
    fetch(site.url, tmp_path / "file", CHECKSUM, MAX_BYTES)
    assert file_names(tmp_path / "file") == ["file"]


def test_a_partial_file_that_is_too_long_is_deleted(site, tmp_path):
    (tmp_path / "file.part").write_bytes(DATA + b"x")
    fetch(site.url, tmp_path / "file", CHECKSUM, MAX_BYTES)
    assert (tmp_path / "file").read_bytes() == DATA


def test_a_wrong_checksum_leaves_no_file(site, tmp_path):
    site.etag = '"one"'
    assert "wrong checksum" in fetch_error(site, tmp_path / "file", "md5:" + "0" * 32)
    assert not list(tmp_path.iterdir())


def test_an_existing_file_is_kept_when_the_new_one_has_a_wrong_checksum(site, tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    fetch_error(site, tmp_path / "file", "md5:" + "0" * 32)
    assert (tmp_path / "file").read_bytes() == b"old"


@pytest.mark.parametrize("length", [True, False])
def test_more_than_the_limit_is_refused(site, tmp_path, length):
    site.sends_length = length
    assert "100000 " in fetch_error(site, tmp_path / "file", limit=100_000)
    assert not list(tmp_path.iterdir())


def test_a_response_without_a_length_is_read_to_its_end(site, tmp_path):
    site.sends_length = False
    fetch(site.url, tmp_path / "file", CHECKSUM, MAX_BYTES)
    assert (tmp_path / "file").read_bytes() == DATA


@pytest.mark.parametrize("status", [404, 500])
def test_an_http_error_is_reported(site, tmp_path, status):
    site.status = status
    message = fetch_error(site, tmp_path / "file")
    assert f"responds with {status}" in message
    assert str(tmp_path / "file") in message


def test_no_network_is_reported(site, tmp_path):
    site.url = "http://127.0.0.1:9/none"  # discard port; no server runs on it
    message = fetch_error(site, tmp_path / "file")
    assert "cannot be downloaded" in message
    assert f"put the file at {tmp_path / 'file'} by hand" in message


@pytest.mark.parametrize("etag", [b"\xff\xfe", b'"one', b'W/"one"', b"a\r\nHost: b", bytes(5000)])
def test_a_partial_file_with_an_invalid_etag_is_resumed(site, tmp_path, etag):
    (tmp_path / "file.part").write_bytes(DATA[:1000])
    (tmp_path / "file.part.etag").write_bytes(etag)
    fetch(site.url, tmp_path / "file", CHECKSUM, MAX_BYTES)
    assert (tmp_path / "file").read_bytes() == DATA
    assert site.requests == [{"path": "/file", "Range": "bytes=1000-"}]
    assert file_names(tmp_path / "file") == ["file"]


@pytest.mark.parametrize("name", ["file.part", "file.part.etag"])
@pytest.mark.parametrize("create", [Path.mkdir, os.mkfifo])
def test_a_folder_in_place_of_the_partial_file_is_reported(site, tmp_path, name, create):
    create(tmp_path / name)
    assert f"{tmp_path / name} is not a file; remove it" in fetch_error(site, tmp_path / "file")


def test_only_redirects_to_http_addresses_are_followed(site, tmp_path):
    site.redirect = site.url + "?moved"
    fetch(site.url, tmp_path / "file", CHECKSUM, MAX_BYTES)
    assert (tmp_path / "file").read_bytes() == DATA
    for location, reason in (
        ("ftp://127.0.0.1:9/f", "'ftp://127.0.0.1:9/f' is not an http"),
        ("file:///etc", "not allowed"),
    ):
        site.redirect = location
        assert reason in fetch_error(site, tmp_path / "other")


@pytest.mark.slow
@pytest.mark.parametrize("part", ["status", "headers", "body", "chunk"])
def test_a_download_that_is_too_slow_is_stopped(site, tmp_path, part):
    site.dripped_part = part
    start = time.monotonic()
    with pytest.raises(PellucidError, match="fewer than 1024 bytes a second") as info:
        fetch(site.url, tmp_path / "file", CHECKSUM, MAX_BYTES, timeout=1.5)
    assert time.monotonic() - start < 15
    assert "\n" not in str(info.value)


def test_a_slow_start_does_not_stop_a_download(site, tmp_path):
    site.delay = 0.5
    fetch(site.url, tmp_path / "file", CHECKSUM, MAX_BYTES, timeout=0.7)
    assert (tmp_path / "file").read_bytes() == DATA


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/file", "nonsense"])
def test_only_http_and_https_are_accepted(tmp_path, url):
    with pytest.raises(PellucidError, match="not an http address"):
        fetch(url, tmp_path / "file", CHECKSUM, MAX_BYTES)


def test_an_invalid_checksum_is_refused(tmp_path):
    with pytest.raises(PellucidError, match="md5:HEX"):
        fetch("http://127.0.0.1:9/", tmp_path / "file", "sha1:00", MAX_BYTES)


def test_a_folder_that_cannot_be_created_is_reported(site, tmp_path):
    (tmp_path / "taken").write_bytes(b"")
    assert "cannot be created" in fetch_error(site, tmp_path / "taken" / "file")
