"""Read pictures and tar archives at addresses, on web servers and in cloud storage buckets, with fsspec."""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from importlib import import_module
from itertools import islice
from threading import Event
from typing import Any, TypeVar

from pellucid.base.errors import PellucidError
from pellucid.base.files import is_listed, is_picture
from pellucid.base.limits import MAX_ADDRESS_BYTES
from pellucid.data.shards import TarMember, open_tar_members

T = TypeVar("T")
WEB_SCHEMES = ("http", "https")
TAR_SUFFIX = ".tar"
BUCKET_SCHEMES = ("s3", "gs", "gcs", "az", "abfs", "memory")  # have folders that can be listed
READER_THREADS = 8  # threads of one process that read pictures while it predicts
MAX_READ_AHEAD = 16  # pictures that are read before they are needed
MAX_TRIES = 3
RETRY_PAUSE = 2.0  # seconds before the second try; twice as many before the third
READ_TIMEOUT = 60  # seconds for one picture
HEADER_READ_BYTES = 1 << 15  # per read of a tar archive's headers, one of which precedes each file
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)


def is_address(text: str) -> bool:
    """Return whether a source is an address such as s3://bucket/folder, not a path."""
    return _ADDRESS.fullmatch(text) is not None


def check_address(address: str) -> None:
    """Raise PellucidError unless the scheme of an address is one of WEB_SCHEMES or BUCKET_SCHEMES."""
    match = _ADDRESS.fullmatch(address)
    if match is None or match[1] not in (*WEB_SCHEMES, *BUCKET_SCHEMES):
        schemes = ", ".join(f"{scheme}://" for scheme in (*WEB_SCHEMES, *BUCKET_SCHEMES[:-1]))
        raise PellucidError(f"{address!a:.200} is not an address that is read; give one of {schemes} or a path")


def check_readable(addresses: Iterable[str]) -> None:
    """Raise PellucidError for an address whose scheme is not supported or whose library is not installed."""
    for address in addresses:
        check_address(address)
        _file_system(address.partition("://")[0])


def list_address(address: str) -> dict[str, int]:
    """Return the sizes in bytes of the pictures and tar archives in a folder of a bucket, by address, sorted.

    For the address of a single picture or tar archive, the size is 0. Raises PellucidError for any other address on a
    web server, and for a folder that cannot be listed.
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
    except Exception as error:  # each library that fsspec uses raises its own types of exceptions
        raise _unreadable_error(address, error) from error
    return {entry: sizes[entry] for entry in sorted(sizes) if _is_picture_or_tar(entry.partition("://")[2])}


def _is_picture_or_tar(path: str) -> bool:
    return is_picture(path) or (is_listed(path) and path.lower().endswith(TAR_SUFFIX))


def read_address(address: str, stop: Event) -> bytes:
    """Return the bytes of the picture at an address, after up to MAX_TRIES tries, fewer if `stop` is set.

    Raises PellucidError, which names the address, for a picture that cannot be read or is above MAX_ADDRESS_BYTES.
    """
    check_address(address)
    scheme, _, _ = address.partition("://")

    def read(file_system: Any) -> bytes:
        # Web servers need not support ranges: with blocks of 0 bytes, fsspec reads a stream instead.
        with file_system.open(address, "rb", **({"block_size": 0} if scheme in WEB_SCHEMES else {})) as file:
            chunks, size = [], 0
            while chunk := file.read(1 << 20):  # a MiB at a time, since the size may be unknown
                chunks.append(chunk)
                if (size := size + len(chunk)) > MAX_ADDRESS_BYTES:
                    raise PellucidError(f"{address} has more than {MAX_ADDRESS_BYTES} bytes; make it smaller")
            return b"".join(chunks)

    return _with_retries(address, stop, read)


def tar_members_at(address: str, stop: Event) -> list[TarMember]:
    """Return the files of the tar archive at an address; only its headers are read, by range requests.

    Raises the errors of `tar_members`, and PellucidError for a server that does not support range requests.
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
    """Return the bytes of a file in the tar archive at an address, by one range request.

    Raises PellucidError, which names the file, for a file above MAX_ADDRESS_BYTES or one that cannot be read, and for
    an archive that has changed.
    """
    name = f"{address}:{member.name}"
    if member.size > MAX_ADDRESS_BYTES:
        raise PellucidError(f"{name} has more than {MAX_ADDRESS_BYTES} bytes; make it smaller")
    end = member.start + member.size
    data = _with_retries(address, stop, lambda file_system: file_system.cat_file(address, start=member.start, end=end))
    if len(data) != member.size:
        raise PellucidError(f"{name} is cut off; the archive has changed")
    return data


def _with_retries(address: str, stop: Event, read: Callable[[Any], T]) -> T:
    """Return read(file system) after up to MAX_TRIES tries; raise PellucidError, naming the address, if all fail."""
    file_system = _file_system(address.partition("://")[0])
    for attempt in range(1, MAX_TRIES + 1):
        try:
            return read(file_system)
        except PellucidError:
            raise
        except Exception as error:  # of any type, see `list_address`
            is_final = attempt == MAX_TRIES or isinstance(error, (FileNotFoundError, PermissionError))
            if is_final or stop.wait(RETRY_PAUSE * attempt):
                raise _unreadable_error(address, error) from error
    raise AssertionError("the last try returns or raises")


def read_ahead(read: Callable[[int], T], indices: Sequence[int], stop: Event) -> Iterator[Callable[[], T]]:
    """Yield for each index a function that returns read(index), which READER_THREADS threads compute in advance.

    stop: is set if the iterator is closed before its end, for example by Ctrl-C, so the threads make no more tries.
    """
    pool = ThreadPoolExecutor(READER_THREADS)
    futures: deque[Future[T]] = deque()
    try:
        remaining_indices = iter(indices)
        futures.extend(pool.submit(read, index) for index in islice(remaining_indices, MAX_READ_AHEAD))
        while futures:
            yield futures.popleft().result
            futures.extend(pool.submit(read, index) for index in islice(remaining_indices, 1))
    finally:
        if futures:
            stop.set()
        # After the last index, yielded functions may still be called. Reads are not waited for: this may run in the
        # garbage collector while another thread starts, where joining a thread never returns.
        pool.shutdown(wait=False, cancel_futures=bool(futures))


@cache
def _file_system(scheme: str) -> Any:
    """Return fsspec's file system for a scheme of addresses; raise PellucidError if its library is not installed."""
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
    """Return the last part of an address's path, without the query and the fragment."""
    return re.split("[?#]", address)[0].rsplit("/", 1)[-1]


def _unreadable_error(address: str, error: Exception) -> PellucidError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return PellucidError(f"{address} cannot be read ({reason:.200}); check the address and the network")
