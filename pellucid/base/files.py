"""Atomic writing of files, reading with a limit on their size, and the encoding of texts."""

import codecs
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from pellucid.base.errors import PellucidError
from pellucid.base.limits import MAX_RUN_TEXT_BYTES
from pellucid.base.text import note_once

# Suffixes of images. Files in a format that cannot be read, such as HEIC, are reported as unreadable, not ignored.
PICTURE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff", ".heic", ".heif", ".avif",
)  # fmt: skip
STILL_SUFFIXES = (*PICTURE_SUFFIXES, ".gif")  # a GIF in a folder, or among several files, counts as its first image
# Files and folders that desktop systems and network drives create, some of them with small copies of the images.
SYSTEM_FILES = (
    "__MACOSX", "Thumbs.db", "ehthumbs.db", "desktop.ini", "@eaDir", "@Recycle", "#recycle", "$RECYCLE.BIN",
    "System Volume Information", "lost+found",
)  # fmt: skip
# Errors of os.link if the file system, or the file, does not support hard links.
NO_HARD_LINK_ERRORS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}

# Byte-order marks and their encodings; the mark of UTF-32 begins with that of UTF-16.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "UTF-8"),
    (codecs.BOM_UTF32_LE, "UTF-32-LE"),
    (codecs.BOM_UTF32_BE, "UTF-32-BE"),
    (codecs.BOM_UTF16_LE, "UTF-16-LE"),
    (codecs.BOM_UTF16_BE, "UTF-16-BE"),
)
_WINDOWS = "Windows-1252"  # a superset of the printable characters of Latin-1

_TEMPORARY_SUFFIX = ".tmp"


def is_listed(name: str) -> bool:
    """Return whether a file in a folder is read: no part of its path is hidden or created by a system."""
    return not any(part.startswith(".") or part in SYSTEM_FILES for part in PurePosixPath(name).parts)


def is_picture(name: str) -> bool:
    """Return whether a file in a folder is read as an image: `is_listed` is true, and the suffix is an image suffix."""
    return is_listed(name) and PurePosixPath(name).suffix.lower() in STILL_SUFFIXES


def is_hidden_picture(name: str) -> bool:
    """Return whether a file is an image but for its hidden name; files that systems create are not."""
    parts = PurePosixPath(name).parts
    is_system_file = any(part.startswith("._") or part in SYSTEM_FILES for part in parts)
    return not is_listed(name) and not is_system_file and PurePosixPath(name).suffix.lower() in STILL_SUFFIXES


def pictures_below(folder: Path) -> list[str]:
    """Return the sorted paths of images in the subfolders of a folder, relative to it; links are not followed."""
    names: list[str] = []
    for parent, _, files in os.walk(folder):
        if parent != str(folder):
            names += [Path(parent, file).relative_to(folder).as_posix() for file in files]
    return sorted(filter(is_picture, names))


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
        return path.rename(next(candidate for candidate in candidates if not os.path.lexists(candidate)))
    except OSError as error:
        raise PellucidError(
            f"{path} cannot be renamed ({error.strerror}); check the permissions of its folder"
        ) from error


def read_regular(path: Path, limit: int = MAX_RUN_TEXT_BYTES, follow_links: bool = True) -> bytes:
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


def decode_text(data: bytes, name: str) -> str:
    """Return the text of a user's file, such as a list of names or annotations, without its byte-order mark.

    The encoding is that of the byte-order mark, otherwise UTF-8. Other bytes are read as Windows-1252, with a note that
    shows the first line with such characters. name: of the file, in messages. Raises PellucidError, which names the
    file and the byte, for a file that is not a text in one of these encodings.
    """
    mark, encoding = next(
        ((mark, encoding) for mark, encoding in _BYTE_ORDER_MARKS if data.startswith(mark)), (b"", "UTF-8")
    )
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        if mark:
            raise _encoding_error(data, name, len(mark) + error.start, encoding) from error
        text = _decode_windows(data, name, error.start)
    if "\0" in text:
        raise PellucidError(
            f"{name} is not a text: its character {text.index(chr(0))} is NUL, as in a binary file, or in UTF-16 "
            "without a byte-order mark; save it as UTF-8"
        )
    return text


def is_wide_text(data: bytes) -> bool:
    """Return whether a text begins with the byte-order mark of UTF-16 or UTF-32."""
    return data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE))


def _decode_windows(data: bytes, name: str, position: int) -> str:
    """Return a text as Windows-1252, with a note; position: of the first byte that is not UTF-8."""
    try:
        text = data.decode(_WINDOWS)
    except UnicodeDecodeError as error:
        raise _encoding_error(data, name, error.start, f"UTF-8 or {_WINDOWS}") from error
    control_index = next((k for k, byte in enumerate(data) if byte < 32 and byte not in b"\t\n\f\r"), None)
    if control_index is not None:  # a binary file
        raise _encoding_error(data, name, control_index, f"UTF-8 or {_WINDOWS}")
    start, end = text.rfind("\n", 0, position) + 1, text.find("\n", position)
    line = text[start : end if end >= 0 else None].strip()
    note_once(
        f"{name} is not UTF-8 (byte 0x{data[position]:02X} at {position}); it is read as {_WINDOWS}: {line!r:.80}; "
        "save it as UTF-8 if this is wrong"
    )
    return text


def _encoding_error(data: bytes, name: str, position: int, encoding: str) -> PellucidError:
    return PellucidError(
        f"{name} is not a text in {encoding} (byte 0x{data[position]:02X} at {position}); save it as UTF-8"
    )


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
