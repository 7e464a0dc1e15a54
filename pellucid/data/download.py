"""Bring the files of a catalogued data set to the data root, and check those that are there."""

import os
from collections.abc import Callable
from pathlib import Path

from pellucid.data.catalogue import Entry, Source, by_hand, data_root, find, verified
from pellucid.data.fetch import fetch
from pellucid.data.tree import open_tree
from pellucid.errors import PellucidError

FileProgress = Callable[[str, int, int | None], None]  # file, bytes so far, bytes in all

__all__ = ["check", "fetch", "get"]


def get(
    name: str, root: str | os.PathLike[str] | None = None, progress: FileProgress | None = None
) -> list[tuple[str, str]]:
    """Download the files of a data set that are missing or wrong, and return their (path, status).

    status: "kept" for a file that was there and right, "downloaded", or "bundled". root: see `data_root`.
    Raises PellucidError for an unknown name, for a data set without a download site, and as `fetch` does.
    """
    entry = find(name)
    if entry.kind == "bundled":
        return [(entry.name, "bundled")]
    place = data_root(root) / entry.place
    if not entry.sources:
        raise PellucidError(f"{entry.name} cannot be downloaded: {by_hand(entry, place)}")
    done: list[tuple[str, str]] = []
    for source in entry.sources:
        path = place / source.file
        if _file_status(entry, source, path) == "ok":
            done.append((str(path), "kept"))
            continue

        def report(have: int, total: int | None, file: str = source.file) -> None:
            if progress is not None:
                progress(file, have, total)

        fetch(source.url, path, f"md5:{source.md5}", limit=source.size, progress=report)
        done.append((str(path), "downloaded"))
    return done


def check(name: str, root: str | os.PathLike[str] | None = None) -> list[tuple[str, str]]:
    """Return (path, status) of every file of a data set: "ok", "missing", or what is wrong with it.

    Files of idx sets are compared with their published checksums; of an image set every file is read, and
    in a zip its CRC checked: the status is then of the whole ("ok: 1737 files") or of the first bad file.
    Raises PellucidError for an unknown name.
    """
    entry = find(name)
    if entry.kind == "bundled":
        return [(entry.name, "ok")]
    place = data_root(root) / entry.place
    if entry.kind in ("images", "masks"):
        return [(str(place), _tree_status(place))]
    return [(str(place / source.file), _file_status(entry, source, place / source.file)) for source in entry.sources]


def _file_status(entry: Entry, source: Source, path: Path) -> str:
    if not path.exists():
        return "missing"
    try:
        verified(entry, source, path)
    except PellucidError as error:
        return str(error)
    return "ok"


def _tree_status(place: Path) -> str:
    if not place.exists():
        return "missing"
    try:
        with open_tree(place) as tree:
            for name in tree.names:
                tree.read(name)
            return f"ok: {len(tree.names)} files"
    except PellucidError as error:
        return str(error)
