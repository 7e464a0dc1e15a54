"""Atomic writing of files, and reading with a limit on their size."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from pellucid.errors import PellucidError

# Suffixes of images. Files in a format that cannot be read, such as HEIC, are reported as unreadable, not ignored.
PICTURE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff", ".heic", ".heif", ".avif",
)  # fmt: skip
STILL_SUFFIXES = (*PICTURE_SUFFIXES, ".gif")  # a GIF in a folder, or among several files, counts as its first image
DESKTOP_FILES = ("__MACOSX", "Thumbs.db", "desktop.ini")
MAX_BYTES = 1 << 28  # the largest size of a text file in a run folder
# Errors of os.link if the file system, or the file, does not support hard links.
NO_HARD_LINK_ERRORS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}

_TEMPORARY_SUFFIX = ".tmp"


def is_listed(name: str) -> bool:
    """Return whether a file in a folder is read: no part of its path is hidden or created by a desktop system."""
    return not any(part.startswith(".") or part in DESKTOP_FILES for part in PurePosixPath(name).parts)


def is_picture(name: str) -> bool:
    """Return whether a file in a folder is read as an image: `is_listed` is true, and the suffix is an image suffix."""
    return is_listed(name) and PurePosixPath(name).suffix.lower() in STILL_SUFFIXES


def write_atomically(path: str | os.PathLike[str], data: bytes, durable: bool = True) -> None:
    """Write a temporary file in the same folder and rename it to `path`, so that readers see the old or the new file.

    durable: whether to wait until the data are on the disk, where they survive a power failure.
    Raises PellucidError if the file cannot be written.
    """
    with atomic_file(path, durable) as file:
        file.write(data)


@contextmanager
def atomic_file(path: str | os.PathLike[str], durable: bool = True) -> Iterator[BinaryIO]:
    """Open a temporary file to write, and rename it to `path` at the end of the context; see `write_atomically`."""
    path, temporary = Path(path), None
    try:
        temporary, open_file = _create_beside(path)
        with open_file as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
        if durable:
            _sync_folder(path.parent)
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL character
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise PellucidError(
            f"{path} cannot be written ({reason_of(error)}); check the folder and its free space"
        ) from error


def make_folder(folder: Path) -> Path:
    """Create a folder and its parents; raises PellucidError if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PellucidError(f"{folder} cannot be created ({error.strerror}); check the path") from error
    return folder


def copy_file(path: Path, copy: Path) -> None:
    """Hard-link the file `path`, if it exists, to the path `copy`; an existing file there is replaced atomically.

    Without support for hard links, the file is moved instead. Raises PellucidError if that fails too.
    """
    if not path.exists():
        return
    try:
        temporary = _link_beside(path, copy)
        if temporary is None:
            path.replace(copy)
            return
        try:
            temporary.replace(copy)
        finally:
            temporary.unlink(missing_ok=True)  # `replace` does nothing if `copy` is already a link to the same file
    except OSError as error:
        raise PellucidError(
            f"{copy} cannot be written ({error.strerror}); check the folder and its free space"
        ) from error


def set_aside(path: Path) -> Path | None:
    """Rename a file to the first unused name of NAME-1, NAME-2 ... and return its new path; None if there is no file.

    Raises PellucidError if it cannot be renamed.
    """
    if not os.path.lexists(path):
        return None
    candidates = (path.with_stem(f"{path.stem}-{number}") for number in count(1))
    try:
        return path.rename(next(new for new in candidates if not os.path.lexists(new)))
    except OSError as error:
        raise PellucidError(
            f"{path} cannot be renamed ({error.strerror}); check the permissions of its folder"
        ) from error


def read_regular(path: Path, limit: int = MAX_BYTES, follow_links: bool = True) -> bytes:
    """Return the bytes of a file; raises the errors of `open_regular`, and OSError for more than `limit` bytes."""
    with open_regular(path, follow_links) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"more than {limit:,} bytes")
    return data


def open_regular(path: Path, follow_links: bool = True) -> BinaryIO:
    """Open a file for reading; raises OSError for pipes, which would wait for a writer, sockets, devices and folders.

    follow_links: whether a symbolic link is followed, or raises OSError too.
    """
    if not follow_links and path.is_symlink():
        raise OSError(errno.ELOOP, "a symbolic link", str(path))
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | (0 if follow_links else os.O_NOFOLLOW))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(handle, "rb")


def reason_of(error: Exception) -> str:
    """Return why a file cannot be read or written, without its path, which messages name themselves."""
    return getattr(error, "strerror", None) or str(error)


def remove_orphans(folder: Path) -> None:
    """Remove the temporary files of killed processes from a folder, not from its subfolders.

    The caller must hold the folder's lock, so that no process is writing these files.
    """
    for file in folder.glob(f".*{_TEMPORARY_SUFFIX}"):
        if file.is_symlink() or not file.is_dir():
            file.unlink(missing_ok=True)


def _create_beside(path: Path) -> tuple[Path, BinaryIO]:
    """Create a temporary file with an unused name in the folder of `path`; return its path and the open file."""
    for temporary in _temporary_paths(path):
        try:
            return temporary, temporary.open("xb")
        except FileExistsError:  # a file of another process with the same id, a folder, or a link
            continue
    raise AssertionError("the names are unlimited")


def _link_beside(path: Path, target: Path) -> Path | None:
    """Hard-link a file to an unused path in the folder of `target`; return it, or None without hard link support."""
    for temporary in _temporary_paths(target):
        try:
            os.link(path, temporary)
        except FileExistsError:
            continue
        except OSError as error:
            if error.errno in NO_HARD_LINK_ERRORS:
                return None
            raise
        return temporary
    raise AssertionError("the names are unlimited")


def _temporary_paths(path: Path):
    """Yield paths for a temporary file in the folder of `path`, which `remove_orphans` recognizes."""
    for number in count():
        yield path.with_name(f".{path.name}.{os.getpid()}{f'-{number}' if number else ''}{_TEMPORARY_SUFFIX}")


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
