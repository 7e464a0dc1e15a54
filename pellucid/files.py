"""Files that appear whole or not at all, whatever kills the process that writes them; and files read with care."""

import errno
import os
from itertools import count
from pathlib import Path
from typing import BinaryIO

from pellucid.errors import PellucidError

LARGEST = 1 << 28  # bytes of a text file in a run folder
# What os.link fails with where a file system, or one file, cannot have second names.
NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}

_SUFFIX = ".tmp"


def write_atomically(path: str | os.PathLike[str], data: bytes, durable: bool = True) -> None:
    """Write a file beside its place and then move it there, so that readers see the old one or the new one.

    durable: wait until the disk holds it, so that it also survives the loss of power.
    Raises PellucidError when the place cannot be written.
    """
    path, temporary = Path(path), None
    try:
        temporary, opened = _create_beside(path)
        with opened as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
        if durable:
            _sync_folder(path.parent)
    except (OSError, ValueError) as error:  # ValueError: a name that holds a NUL
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        why = getattr(error, "strerror", None) or error
        raise PellucidError(f"{path} cannot be written ({why}); check the place and its space") from error


def make_folder(folder: Path) -> Path:
    """Make a folder and those above it; PellucidError where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PellucidError(f"{folder} cannot be made ({error.strerror}); check the place") from error
    return folder


def keep_as(path: Path, kept: Path) -> None:
    """Give the file `path`, if there is one, the second name `kept` in place of what has it; never is a name missing.

    Where the file system knows no second names the file is moved. Raises PellucidError where neither can be done.
    """
    if not path.exists():
        return
    try:
        temporary = _link_beside(path, kept)
        if temporary is None:
            path.replace(kept)
            return
        try:
            temporary.replace(kept)
        finally:
            temporary.unlink(missing_ok=True)  # it stays where `kept` is a name of this very file already
    except OSError as error:
        raise PellucidError(f"{kept} cannot be written ({error.strerror}); check the place and its space") from error


def set_aside(path: Path) -> Path | None:
    """Rename a file to NAME-1, NAME-2 ..., the first that is free, and return it; None where there is none.

    Raises PellucidError when it cannot be renamed.
    """
    if not os.path.lexists(path):
        return None
    places = (path.with_stem(f"{path.stem}-{number}") for number in count(1))
    try:
        return path.rename(next(place for place in places if not os.path.lexists(place)))
    except OSError as error:
        raise PellucidError(
            f"{path} cannot be renamed ({error.strerror}); check the permissions of its folder"
        ) from error


def read_regular(path: Path) -> bytes:
    """Return the bytes of a file; OSError for a pipe or a device, which may never end, and for more than LARGEST."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a regular file")
    if path.stat().st_size > LARGEST:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return path.read_bytes()


def remove_orphans(folder: Path) -> None:
    """Remove what killed writers left in a folder; only for the one process that holds the folder's lock.

    Folders are left alone, whatever their names.
    """
    for file in folder.glob(f".*{_SUFFIX}"):
        if file.is_symlink() or not file.is_dir():
            file.unlink(missing_ok=True)


def _create_beside(path: Path) -> tuple[Path, BinaryIO]:
    """Create a file that nothing had the name of, to be moved to `path`."""
    for temporary in _names_beside(path):
        try:
            return temporary, temporary.open("xb")
        except FileExistsError:  # of a process of the same number, a folder, or a link
            continue
    raise AssertionError("there are names without end")


def _link_beside(path: Path, kept: Path) -> Path | None:
    """Give a file a second name beside `kept` that nothing had; None where the file system knows no second names."""
    for temporary in _names_beside(kept):
        try:
            os.link(path, temporary)
        except FileExistsError:
            continue
        except OSError as error:
            if error.errno in NO_LINKS:
                return None
            raise
        return temporary
    raise AssertionError("there are names without end")


def _names_beside(path: Path):
    """Yield names for a temporary file beside `path`, which `remove_orphans` knows."""
    for number in count():
        yield path.with_name(f".{path.name}.{os.getpid()}{f'-{number}' if number else ''}{_SUFFIX}")


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
