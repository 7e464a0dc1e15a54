"""Pictures and tar archives behind addresses: on web servers and in the buckets of clouds, read by fsspec."""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from importlib import import_module
from itertools import islice
from threading import Event
from typing import Any, TypeVar

from pellucid.data.shards import TarMember, open_tar_members
from pellucid.errors import PellucidError
from pellucid.files import is_listed, is_picture

T = TypeVar("T")
WEB_SCHEMES = ("http", "https")
TAR_SUFFIX = ".tar"
BUCKET_SCHEMES = ("s3", "gs", "gcs", "az", "abfs", "memory")  # have folders that can be listed
READER_THREADS = 8  # addresses that a process reads at a time, while it predicts
MAX_READ_AHEAD = 16  # pictures that are read ahead, at most
MAX_PICTURE_BYTES = 50 << 20  # of a picture behind an address; MAX_READ_AHEAD of them may be in memory
MAX_TRIES = 3
RETRY_PAUSE = 2.0  # seconds before the second try; twice as many before the third
READ_TIMEOUT = 60  # seconds for one picture
HEADER_READ_BYTES = 1 << 15  # read at a time of the headers of a tar archive, which are as far apart as its files
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)


def is_address(text: str) -> bool:
    """Return whether a source is an address such as s3://bucket/folder, not a path."""
    return _ADDRESS.fullmatch(text) is not None


def check_address(address: str) -> None:
    """Raise PellucidError for an address of a kind that is not read, such as file:// or a chain of file systems."""
    match = _ADDRESS.fullmatch(address)
    if match is None or match[1] not in (*WEB_SCHEMES, *BUCKET_SCHEMES):
        schemes = ", ".join(f"{scheme}://" for scheme in (*WEB_SCHEMES, *BUCKET_SCHEMES[:-1]))
        raise PellucidError(f"{address!a:.200} is not an address that is read; give one of {schemes} or a path")


def check_readable(addresses: Iterable[str]) -> None:
    """Raise PellucidError for an address of a kind that is not read, or whose library is not installed."""
    for address in addresses:
        check_address(address)
        _file_system(address.partition("://")[0])


def list_address(address: str) -> dict[str, int]:
    """Return the addresses of the pictures and tar archives in a folder of a bucket, sorted, and their sizes in bytes.

    The address of one of these is returned with the size 0. Raises PellucidError for a folder of the web, and for one
    that cannot be listed.
    """
    check_address(address)
    scheme, _, _ = address.partition("://")
    if _is_picture_or_tar(file_name_of(address)):
        return {address: 0}
    if scheme in WEB_SCHEMES:
        raise PellucidError(f"{address} is no picture, and the web has no folders; give a .txt file with addresses")
    file_system = _file_system(scheme)
    try:
        entries = file_system.find(address, detail=True).items()
        sizes = {f"{scheme}://{path.lstrip('/')}": info["size"] for path, info in entries}
        file_system.invalidate_cache()
    except Exception as error:  # each of the libraries behind fsspec raises errors of its own
        raise _unreadable_error(address, error) from error
    return {entry: sizes[entry] for entry in sorted(sizes) if _is_picture_or_tar(entry.partition("://")[2])}


def _is_picture_or_tar(path: str) -> bool:
    return is_picture(path) or (is_listed(path) and path.lower().endswith(TAR_SUFFIX))


def read_address(address: str, stop: Event) -> bytes:
    """Return the bytes of a picture behind an address, tried up to MAX_TRIES times, unless `stop` is set in between.

    Raises PellucidError, which names it, if it cannot be read or has more than MAX_PICTURE_BYTES bytes.
    """
    check_address(address)
    scheme, _, _ = address.partition("://")

    def read(file_system: Any) -> bytes:
        # Web servers need not support ranges: with blocks of 0 bytes, fsspec reads a stream instead.
        with file_system.open(address, "rb", **({"block_size": 0} if scheme in WEB_SCHEMES else {})) as file:
            chunks, size = [], 0
            while chunk := file.read(1 << 20):
                chunks.append(chunk)
                if (size := size + len(chunk)) > MAX_PICTURE_BYTES:
                    raise PellucidError(f"{address} has more than {MAX_PICTURE_BYTES} bytes; make it smaller")
            return b"".join(chunks)

    return _with_retries(address, stop, read)


def tar_members_at(address: str, stop: Event) -> list[TarMember]:
    """Return the files of the tar archive behind an address, from its headers, which are read by ranges.

    Raises PellucidError as `tar_members`, and for a server that cannot send ranges of a file.
    """
    check_address(address)

    def read(file_system: Any) -> list[TarMember]:
        with file_system.open(address, "rb", block_size=HEADER_READ_BYTES, cache_type="readahead") as file:
            try:
                file.seek(1)
                file.read(1)
            except ValueError as error:
                reason = "the server sends no parts of files; copy the archive to a disk"
                raise PellucidError(f"{address} cannot be read: {reason}") from error
            return [*open_tar_members(file, file.size, address)]

    return _with_retries(address, stop, read)


def read_member_at(address: str, member: TarMember, stop: Event) -> bytes:
    """Return the bytes of a file in a tar archive behind an address, by one request for a range of it.

    Raises PellucidError, which names it, above MAX_PICTURE_BYTES, if it cannot be read, and if the archive has changed.
    """
    name = f"{address}:{member.name}"
    if member.size > MAX_PICTURE_BYTES:
        raise PellucidError(f"{name} has more than {MAX_PICTURE_BYTES} bytes; make it smaller")
    end = member.start + member.size
    data = _with_retries(address, stop, lambda file_system: file_system.cat_file(address, start=member.start, end=end))
    if len(data) != member.size:
        raise PellucidError(f"{name} is cut off; the archive has changed")
    return data


def _with_retries(address: str, stop: Event, read: Callable[[Any], T]) -> T:
    """Return read(file system), tried up to MAX_TRIES times; PellucidError, which names the address, if it fails."""
    file_system = _file_system(address.partition("://")[0])
    for attempt in range(1, MAX_TRIES + 1):
        try:
            return read(file_system)
        except PellucidError:
            raise
        except Exception as error:  # as above
            is_final = attempt == MAX_TRIES or isinstance(error, (FileNotFoundError, PermissionError))
            if is_final or stop.wait(RETRY_PAUSE * attempt):
                raise _unreadable_error(address, error) from error
    raise AssertionError("the last try returns or raises")


def read_ahead(read: Callable[[int], T], indices: Sequence[int], stop: Event) -> Iterator[Callable[[], T]]:
    """Yield for each index a function that returns read(index), called ahead by READER_THREADS threads.

    stop: is set if the iterator is closed before its end, as by Ctrl-C, so that threads try nothing again.
    """
    pool = ThreadPoolExecutor(READER_THREADS)
    futures: deque[Future[T]] = deque()
    try:
        remaining = iter(indices)
        futures.extend(pool.submit(read, index) for index in islice(remaining, MAX_READ_AHEAD))
        while futures:
            yield futures.popleft().result
            futures.extend(pool.submit(read, index) for index in islice(remaining, 1))
    finally:
        if futures:
            stop.set()
        pool.shutdown(cancel_futures=bool(futures))  # at the end, what was yielded may still be asked for


@cache
def _file_system(scheme: str) -> Any:
    """Return the file system of fsspec for the addresses of a scheme; PellucidError if its library is not installed."""
    options: dict[str, Any] = {}
    try:
        fsspec: Any = import_module("fsspec")
        if scheme in WEB_SCHEMES:
            options = {"client_kwargs": {"timeout": import_module("aiohttp").ClientTimeout(total=READ_TIMEOUT)}}
        return fsspec.filesystem(scheme, **options)
    except ImportError as error:
        package = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}.get(scheme)
        advice = f"pip install {package}" if package else "pip install 'pellucid[remote]'"
        raise PellucidError(
            f"addresses of {scheme}:// need a library that is not installed ({error}); {advice}"
        ) from error


def file_name_of(address: str) -> str:
    """Return the last part of an address's path, without the parameters of the web."""
    return re.split("[?#]", address)[0].rsplit("/", 1)[-1]


def _unreadable_error(address: str, error: Exception) -> PellucidError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return PellucidError(f"{address} cannot be read ({reason:.200}); check the address and the network")
