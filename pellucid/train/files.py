"""Files that appear whole or not at all, whatever kills the process that writes them."""

import os
from pathlib import Path

from pellucid.errors import PellucidError

_SUFFIX = ".tmp"


def write_atomically(path: str | os.PathLike[str], data: bytes, durable: bool = True) -> None:
    """Write a file beside its place and then move it there, so that readers see the old one or the new one.

    durable: wait until the disk holds it, so that it also survives the loss of power.
    Raises PellucidError when the place cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{_SUFFIX}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
        if durable:
            _sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise PellucidError(f"{path} cannot be written ({error.strerror}); check the place and its space") from error


def remove_orphans(folder: Path) -> None:
    """Remove what killed writers left in a folder; only for the one process that holds the folder's lock."""
    for file in folder.glob(f".*{_SUFFIX}"):
        file.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
