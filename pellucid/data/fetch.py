"""Download one file: it is resumed after a cut, checked, and appears under its name only when it is right."""

import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from pellucid.errors import PellucidError

Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all where the server tells
_PIECE = 1 << 16
_ATTEMPTS = 3
_DIGEST = re.compile(r"(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64})")


class _CutError(Exception):
    """The connection ended before the file did."""


def fetch(
    url: str,
    path: str | os.PathLike[str],
    checksum: str,
    limit: int,
    progress: Progress | None = None,
    timeout: float = 30.0,
) -> None:
    """Download `url` to `path`.

    checksum: "md5:HEX" or "sha256:HEX" of the file. limit: the most bytes to accept. timeout: seconds that
    the server may be silent. Bytes are collected in `path`.part; a cut connection is resumed from there, by
    an HTTP range, at once and by later calls; a server that does not know ranges, or that has a new version
    of the file (its ETag is kept in `path`.part.etag), is read from the start. A wrong checksum deletes the
    part. Raises PellucidError, which says where the file may be put by hand.
    """
    path = Path(path)
    if urlsplit(url).scheme not in ("http", "https"):
        raise PellucidError(f"{url} is not an http address; give one that starts with https://")
    if not _DIGEST.fullmatch(checksum):
        raise PellucidError(f"checksum {checksum!r} of {url} is not md5:HEX or sha256:HEX; correct it")
    part, etag = path.with_name(path.name + ".part"), path.with_name(path.name + ".part.etag")
    hand = f"run it again to go on, or put the file at {path} by hand"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PellucidError(f"{path.parent} cannot be made ({error.strerror}); choose another data root") from error
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _collect(url, part, etag, limit, progress, timeout)
            break
        except _CutError as cut:
            if attempt == _ATTEMPTS:
                raise PellucidError(f"{url}: {cut}; {hand}") from cut
        except urllib.error.HTTPError as error:
            error.close()
            raise PellucidError(f"{url} answers {error.code} {error.reason}; {hand}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            cause = error.reason if isinstance(error, urllib.error.URLError) else error
            reason = " ".join(str(cause).split()) or type(error).__name__
            raise PellucidError(f"{url} cannot be downloaded ({reason}); {hand}") from error
    kind, _, wanted = checksum.partition(":")
    try:
        with part.open("rb") as file:
            found = hashlib.file_digest(file, kind).hexdigest()
        etag.unlink(missing_ok=True)
        if found == wanted:
            os.replace(part, path)
            return
        part.unlink()
    except OSError as error:
        raise PellucidError(f"{path} cannot be written ({error.strerror}); {hand}") from error
    raise PellucidError(f"{url} has the wrong checksum ({kind} {found}, not {wanted}), so it was deleted; {hand}")


def _collect(url: str, part: Path, etag: Path, limit: int, progress: Progress | None, timeout: float) -> None:
    """Bring `part` to the length of the file at `url`."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "pellucid", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        if etag.exists():
            request.add_header("If-Range", etag.read_text())
    try:
        answer = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        # 416: nothing lies behind our last byte, so the part is whole; or it is no part of this file at all.
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        error.close()
        if error.headers.get("Content-Range", "") == f"bytes */{have}":
            return
        part.unlink()
        raise _CutError("the part on disk does not belong to it") from error
    with answer:
        if not (answer.status == http.client.PARTIAL_CONTENT and _start(answer.headers) == have):
            have = 0
        _note(etag, answer.headers.get("ETag", ""))
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else None
        if (total or 0) > limit:
            raise PellucidError(f"{url} has {total} bytes, more than the {limit} expected; nothing was downloaded")
        with part.open("ab" if have else "wb") as file:
            for data in _pieces(answer, have):
                have += len(data)
                if have > limit:
                    part.unlink()
                    raise PellucidError(f"{url} sends more than the {limit} bytes expected; it was deleted")
                file.write(data)
                if progress is not None:
                    progress(have, total)
        if total is not None and have < total:
            raise _CutError(f"the connection was cut at {have} of {total} bytes")


def _pieces(answer: http.client.HTTPResponse, have: int) -> Iterator[bytes]:
    try:
        while data := answer.read1(_PIECE):
            yield data
    except (OSError, http.client.HTTPException) as error:
        raise _CutError(f"the connection was cut ({type(error).__name__}) after byte {have}") from error


def _start(headers: http.client.HTTPMessage) -> int:
    match = re.match(r"bytes (\d+)-", headers.get("Content-Range", ""))
    return int(match[1]) if match else -1


def _note(etag: Path, value: str) -> None:
    """Keep a strong ETag for the next call: a weak one does not promise the same bytes."""
    if value and not value.startswith("W/"):
        etag.write_text(value)
    else:
        etag.unlink(missing_ok=True)
