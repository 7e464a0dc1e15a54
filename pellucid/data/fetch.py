"""Download of one file: resumed after a lost connection, and renamed once its checksum is verified."""

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

from pellucid.base.errors import PellucidError

ByteProgress = Callable[[int, int | None], None]  # (bytes so far, total bytes, None if the server does not send it)
# torch.hub.download_url_to_file (2.13) has no timeout, no limit of size and no MD5, and begins again after a lost
# connection; neither does pooch 1.9 resume, or stop at the published size, and it needs eight more packages.
_CHUNK_BYTES = 1 << 16
_MAX_ATTEMPTS = 3
_MIN_RATE = 1024  # bytes a second
_DIGEST = re.compile(r"(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64})")
_ETAG = re.compile(r'"[!#-~]{0,1000}"')  # a strong ETag (RFC 9110, 8.8.3): weak ones do not identify the bytes


class _ConnectionCutError(Exception):
    """The connection ended before the complete file was received."""


def fetch(
    url: str,
    path: str | os.PathLike[str],
    checksum: str,
    limit: int,
    progress: ByteProgress | None = None,
    timeout: float = 30.0,
) -> None:
    """Download `url` to `path`.

    checksum: "md5:HEX" or "sha256:HEX" of the file. limit: the maximum size in bytes. timeout: seconds without data
    after which the connection is closed; the mean rate over each such interval must be at least 1,024 bytes a second.
    Only redirects to http and https are followed. The partial file is `path`.part; after a lost connection, this and
    later calls resume it with an HTTP range request. If the server does not support ranges, or has a new version of
    the file (its ETag is saved in `path`.part.etag), the download restarts. A part with a wrong checksum is deleted.
    Raises PellucidError, whose message contains the path for a file that was downloaded manually.
    """
    path = Path(path)
    _check_http(url)
    if not _DIGEST.fullmatch(checksum):
        raise PellucidError(f"checksum {checksum!r} of {url} is not md5:HEX or sha256:HEX; correct it")
    part_path, etag_path = path.with_name(path.name + ".part"), path.with_name(path.name + ".part.etag")
    advice = f"run it again to resume, or put the file at {path} by hand"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PellucidError(f"{path.parent} cannot be created ({error.strerror}); choose another data root") from error
    for file in (part_path, etag_path):
        if file.exists() and not file.is_file():
            raise PellucidError(f"{file} is not a file; remove it")
    for attempt in range(1, _MAX_ATTEMPTS + 1):
        try:
            _download_missing_bytes(url, part_path, etag_path, limit, progress, timeout)
            break
        except _ConnectionCutError as cut_error:
            if attempt == _MAX_ATTEMPTS:
                raise PellucidError(f"{url}: {cut_error}; {advice}") from cut_error
        except urllib.error.HTTPError as error:
            error.close()
            raise PellucidError(f"{url} responds with {error.code} {error.reason}; {advice}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            cause = error.reason if isinstance(error, urllib.error.URLError) else error
            reason = " ".join(str(cause).split()) or type(error).__name__
            raise PellucidError(f"{url} cannot be downloaded ({reason}); {advice}") from error
    algorithm, _, expected_digest = checksum.partition(":")
    try:
        with part_path.open("rb") as file:
            digest = hashlib.file_digest(file, algorithm).hexdigest()
        etag_path.unlink(missing_ok=True)
        if digest == expected_digest:
            os.replace(part_path, path)
            return
        part_path.unlink()
    except OSError as error:
        raise PellucidError(f"{path} cannot be written ({error.strerror}); {advice}") from error
    raise PellucidError(
        f"{url} has the wrong checksum ({algorithm} {digest}, not {expected_digest}); the download was deleted; "
        f"{advice}"
    )


def _download_missing_bytes(
    url: str, part_path: Path, etag_path: Path, limit: int, progress: ByteProgress | None, timeout: float
) -> None:
    """Append to the file `part_path` until it has the length of the file at `url`."""
    n_received = part_path.stat().st_size if part_path.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "pellucid", "Accept-Encoding": "identity"})
    if n_received:
        request.add_header("Range", f"bytes={n_received}-")
        if saved_etag := _read_etag(etag_path):
            request.add_header("If-Range", saved_etag)
    try:
        response = urllib.request.build_opener(_HttpRedirects, _TimedHttp, _TimedHttps).open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        # 416: there are no bytes after those received; the part is complete or belongs to another version of the file.
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        error.close()
        if error.headers.get("Content-Range", "") == f"bytes */{n_received}":
            return
        part_path.unlink()
        raise _ConnectionCutError("the partial download belongs to another version of the file") from error
    with response:
        if not (response.status == http.client.PARTIAL_CONTENT and _range_start(response.headers) == n_received):
            n_received = 0
        _save_etag(etag_path, response.headers.get("ETag", ""))
        length = response.headers.get("Content-Length")
        total = n_received + int(length) if length else None
        if (total or 0) > limit:
            raise PellucidError(f"{url} has {total} bytes, more than the {limit} expected; nothing was downloaded")
        with part_path.open("ab" if n_received else "wb") as file:
            for chunk in _chunks(response, n_received):
                n_received += len(chunk)
                if n_received > limit:
                    part_path.unlink()
                    raise PellucidError(
                        f"{url} sends more than the {limit} bytes expected; the partial file was deleted"
                    )
                file.write(chunk)
                if progress is not None:
                    progress(n_received, total)
        if total is not None and n_received < total:
            raise _ConnectionCutError(f"the connection was cut at {n_received} of {total} bytes")


def _chunks(response: http.client.HTTPResponse, n_received: int) -> Iterator[bytes]:
    try:
        while data := response.read1(_CHUNK_BYTES):
            yield data
    except (OSError, http.client.HTTPException) as error:
        reason = str(error) if isinstance(error, _SlowError) else f"the connection was cut ({type(error).__name__})"
        raise _ConnectionCutError(f"{reason} after byte {n_received}") from error


class _SlowError(OSError):
    """The transfer rate is below the minimum."""


class _TimedResponse(http.client.HTTPResponse):
    """A response that is aborted if it is too slow; a socket's own timeout restarts with each byte.

    The headers must arrive within the socket's timeout; then the mean rate in each interval of that length must be at
    least _MIN_RATE bytes a second.
    """

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._received, self._is_too_slow, self._closed = 0.0, False, threading.Event()
        threading.Thread(target=self._check_rate, args=(sock, sock.gettimeout()), daemon=True).start()

    def _check_rate(self, sock: socket.socket, seconds: float) -> None:
        while not self._closed.wait(seconds):
            if self._received < _MIN_RATE * seconds:
                self._is_too_slow = True
                with suppress(OSError):  # the socket may be closed already
                    sock.shutdown(socket.SHUT_RDWR)
                return
            self._received = 0.0

    def begin(self) -> None:
        with self._raise_if_too_slow():
            super().begin()
        self._received = math.inf  # the rate is checked from the next interval on

    def read1(self, n: int = -1) -> bytes:
        with self._raise_if_too_slow():
            data = super().read1(n)
        self._received += len(data)
        return data

    def close(self) -> None:
        self._closed.set()
        super().close()

    @contextmanager
    def _raise_if_too_slow(self) -> Iterator[None]:
        slow_error = _SlowError(f"the server sends fewer than {_MIN_RATE} bytes a second")
        try:
            yield
        except (OSError, http.client.HTTPException, ValueError):
            if self._is_too_slow:
                raise slow_error from None
            raise
        if self._is_too_slow:
            raise slow_error


class _Connection(http.client.HTTPConnection):
    response_class = _TimedResponse


class _TlsConnection(http.client.HTTPSConnection):
    response_class = _TimedResponse


class _TimedHttp(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, req)


class _TimedHttps(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_TlsConnection, req)


class _HttpRedirects(urllib.request.HTTPRedirectHandler):
    """Redirects to http and https only: the default handler also follows ftp."""

    def redirect_request(  # its signature is urllib's
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        _check_http(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check_http(url: str) -> None:
    if urlsplit(url).scheme not in ("http", "https"):
        raise PellucidError(f"{url!a:.200} is not an http address; give one that starts with https://")


def _range_start(headers: http.client.HTTPMessage) -> int:
    match = re.match(r"bytes (\d+)-", headers.get("Content-Range", ""))
    return int(match[1]) if match else -1


def _read_etag(etag_path: Path) -> str:
    """Return the ETag that `_save_etag` saved, "" if there is none or the file is damaged."""
    # Not more bytes than the longest text that _ETAG matches, and some that show that it is longer.
    value = etag_path.read_bytes()[:1100].decode("latin-1") if etag_path.exists() else ""
    return value if _ETAG.fullmatch(value) else ""


def _save_etag(etag_path: Path, value: str) -> None:
    """Save a strong ETag for the next call; remove the saved one for any other value."""
    if _ETAG.fullmatch(value):
        etag_path.write_text(value)
    else:
        etag_path.unlink(missing_ok=True)
