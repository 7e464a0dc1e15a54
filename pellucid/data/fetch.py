"""Download one file: it is resumed after a cut, checked, and appears under its name only when it is right."""

import hashlib
import http.client
import math
import os
import re
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from pellucid.errors import PellucidError

Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all where the server tells
_PIECE = 1 << 16
_ATTEMPTS = 3
_SLOWEST = 1024  # bytes a second
_DIGEST = re.compile(r"(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64})")
_ETAG = re.compile(r'"[!#-~]{0,1000}"')  # a strong one (RFC 9110, section 8.8.3): a weak one does not promise the bytes


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
    the server may be silent, and in which it must send 1,024 bytes for each of them. Redirects lead to http and https
    only. Bytes are collected in `path`.part; a cut connection is resumed from there, by
    an HTTP range, at once and by later calls; a server that does not know ranges, or that has a new version
    of the file (its ETag is kept in `path`.part.etag), is read from the start. A wrong checksum deletes the
    part. Raises PellucidError, which says where the file may be put by hand.
    """
    path = Path(path)
    _require_http(url)
    if not _DIGEST.fullmatch(checksum):
        raise PellucidError(f"checksum {checksum!r} of {url} is not md5:HEX or sha256:HEX; correct it")
    part, etag = path.with_name(path.name + ".part"), path.with_name(path.name + ".part.etag")
    hand = f"run it again to go on, or put the file at {path} by hand"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PellucidError(f"{path.parent} cannot be made ({error.strerror}); choose another data root") from error
    for file in (part, etag):
        if file.exists() and not file.is_file():
            raise PellucidError(f"{file} is not a file; remove it")
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
        if known := _known(etag):
            request.add_header("If-Range", known)
    try:
        answer = urllib.request.build_opener(_Redirects, _Http, _Https).open(request, timeout=timeout)
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
        why = str(error) if isinstance(error, _SlowError) else f"the connection was cut ({type(error).__name__})"
        raise _CutError(f"{why} after byte {have}") from error


class _SlowError(OSError):
    """The transfer rate is below the minimum."""


class _Watched(http.client.HTTPResponse):
    """An answer that is given up when it drips: the timeout of a socket begins anew with each byte.

    Its beginning must arrive within the socket's timeout, and then _SLOWEST bytes a second in each such stretch.
    """

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._arrived, self._late, self._done = 0.0, False, threading.Event()
        threading.Thread(target=self._watch, args=(sock, sock.gettimeout()), daemon=True).start()

    def _watch(self, sock: socket.socket, seconds: float) -> None:
        while not self._done.wait(seconds):
            if self._arrived < _SLOWEST * seconds:
                self._late = True
                with suppress(OSError):  # it ended by itself meanwhile
                    sock.shutdown(socket.SHUT_RDWR)
                return
            self._arrived = 0.0

    def begin(self) -> None:
        with self._in_time():
            super().begin()
        self._arrived = math.inf  # the body has the next stretch

    def read1(self, n: int = -1) -> bytes:
        with self._in_time():
            data = super().read1(n)
        self._arrived += len(data)
        return data

    def close(self) -> None:
        self._done.set()
        super().close()

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        late = _SlowError(f"the server sends fewer than {_SLOWEST} bytes a second")
        try:
            yield
        except (OSError, http.client.HTTPException, ValueError):
            if self._late:
                raise late from None
            raise
        if self._late:
            raise late


class _Connection(http.client.HTTPConnection):
    response_class = _Watched


class _TlsConnection(http.client.HTTPSConnection):
    response_class = _Watched


class _Http(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, req)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_TlsConnection, req)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Redirects to web addresses alone: the general handler also goes to ftp."""

    def redirect_request(  # its signature is urllib's
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        _require_http(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _require_http(url: str) -> None:
    if urlsplit(url).scheme not in ("http", "https"):
        raise PellucidError(f"{url!a:.200} is not an http address; give one that starts with https://")


def _start(headers: http.client.HTTPMessage) -> int:
    match = re.match(r"bytes (\d+)-", headers.get("Content-Range", ""))
    return int(match[1]) if match else -1


def _known(etag: Path) -> str:
    """Return the ETag that `_note` kept, "" where there is none or the file holds something else."""
    value = etag.read_bytes()[:1100].decode("latin-1") if etag.exists() else ""
    return value if _ETAG.fullmatch(value) else ""


def _note(etag: Path, value: str) -> None:
    """Keep a strong ETag for the next call."""
    if _ETAG.fullmatch(value):
        etag.write_text(value)
    else:
        etag.unlink(missing_ok=True)
