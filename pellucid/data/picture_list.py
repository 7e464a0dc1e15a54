"""Large collections of pictures in a fixed order: folders, zips, tar shards, lists of paths, and addresses."""

import hashlib
import os
import re
from abc import ABC, abstractmethod
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from threading import Event

from pellucid.base.errors import PellucidError
from pellucid.base.files import decode_text, is_listed, is_picture, read_regular
from pellucid.base.limits import MAX_LIST_BYTES, MAX_LIST_LINE_BYTES
from pellucid.data.addresses import (
    TAR_SUFFIX,
    check_address,
    check_readable,
    file_name_of,
    is_address,
    list_address,
    read_address,
    read_ahead,
    read_member_at,
    tar_members_at,
)
from pellucid.data.shards import TarMember, expand_braces, read_member, tar_members
from pellucid.data.tree import ZipTree

ZIP_SUFFIX, LIST_SUFFIX = ".zip", ".txt"
COMPRESSED_SUFFIXES = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


class PictureList(ABC):
    """Pictures in a fixed order.

    digest: depends on their names, their order and the known sizes. is_slow: whether threads read pictures in advance.
    open_files: closed by `close`.
    """

    def __init__(self, is_slow: bool = False) -> None:
        self._hash = hashlib.sha256()
        self.is_slow, self.open_files = is_slow, ExitStack()
        self.stop = Event()  # set when reading ahead ends early

    @property
    def digest(self) -> str:
        """The SHA-256 of the names and sizes of the pictures, in hexadecimal."""
        return self._hash.hexdigest()

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of pictures."""

    @abstractmethod
    def name(self, k: int) -> str:
        """Return the name of picture k in results: its path in the source, or its address."""

    @abstractmethod
    def where(self, k: int) -> str:
        """Return the name of picture k in messages."""

    @abstractmethod
    def read(self, k: int) -> Path | bytes:
        """Return the file of picture k, or its bytes; raise PellucidError, which names it, if it cannot be read."""

    def contents(self, indices: Sequence[int]) -> Iterator[Callable[[], Path | bytes]]:
        """Yield for each index a function that returns the result of `read`."""
        return read_ahead(self.read, indices, self.stop) if self.is_slow else (partial(self.read, k) for k in indices)

    def close(self) -> None:
        """Close open files."""
        self.open_files.close()

    def _hash_picture(self, name: str, size: int) -> None:
        self._hash.update(f"{name}\0{size}\0".encode(errors="surrogateescape"))


class FolderPictures(PictureList):
    """The pictures of a folder and its subfolders, sorted by path; links to folders are not followed."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder, sizes = folder, dict[str, int]()
        _add_picture_sizes(folder, "", sizes)
        self.names = sorted(sizes)
        for name in self.names:
            self._hash_picture(name, sizes[name])

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.names)

    def name(self, k: int) -> str:
        """Return the path of picture k relative to the folder."""
        return self.names[k]

    def where(self, k: int) -> str:
        """Return the path of picture k."""
        return str(self.folder / self.names[k])

    def read(self, k: int) -> Path | bytes:
        """Return the file of picture k."""
        return self.folder / self.names[k]


class ZipPictures(PictureList):
    """The pictures in a zip, sorted by path and read in place."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.tree = ZipTree(file)
        self.open_files.callback(self.tree.close)
        self.names = [name for name in self.tree.names if is_picture(name)]
        for name in self.names:
            self._hash.update(f"{name}\0{self.tree.fingerprint(name)}\0".encode(errors="surrogateescape"))

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.names)

    def name(self, k: int) -> str:
        """Return the path of picture k in the zip."""
        return self.names[k]

    def where(self, k: int) -> str:
        """Return `FILE.zip:MEMBER`."""
        return self.tree.where(self.names[k])

    def read(self, k: int) -> Path | bytes:
        """Return the bytes of picture k."""
        return self.tree.read(self.names[k])


class TarPictures(PictureList):
    """The pictures in tar files, such as WebDataset's shards, in the order of the files and of their members.

    files: paths or addresses; threads read headers and pictures at addresses in advance.
    """

    def __init__(self, files: Sequence[str]) -> None:
        super().__init__(is_slow=any(map(is_address, files)))
        self.files, self.names = [*files], list[str]()
        self.labels = [file_name_of(file) if is_address(file) else Path(file).name for file in files]
        self._starts, self._sizes, self._first_indices = (
            array("q"),
            array("q"),
            array("q"),
        )  # a million members need 80 MB, with their names
        index_by_label: dict[str, int] = {}
        for k, label in enumerate(self.labels):
            if (first_index := index_by_label.setdefault(label, k)) != k:
                raise PellucidError(
                    f"{files[first_index]} and {files[k]} have the same name, so do their rows; rename one of them"
                )
        file_indices = range(len(files))
        member_lists = (
            read_ahead(self._remote_members, file_indices, self.stop)
            if self.is_slow
            else (partial(self._local_members, k) for k in file_indices)
        )
        for label, members in zip(self.labels, member_lists, strict=True):
            self._first_indices.append(len(self.names))
            for member in members():
                if is_picture(member.name):
                    self.names.append(member.name)
                    self._starts.append(member.start)
                    self._sizes.append(member.size)
                    self._hash_picture(f"{label}:{member.name}", member.size)

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.names)

    def name(self, k: int) -> str:
        """Return `FILE.tar:MEMBER`, without the folder of the file."""
        return f"{self.labels[self._file_index(k)]}:{self.names[k]}"

    def where(self, k: int) -> str:
        """Return `PATH/FILE.tar:MEMBER`, or the address in place of the path."""
        return f"{self.files[self._file_index(k)]}:{self.names[k]}"

    def read(self, k: int) -> Path | bytes:
        """Return the bytes of picture k."""
        file, member = self.files[self._file_index(k)], TarMember(self.names[k], self._starts[k], self._sizes[k])
        if is_address(file):
            return read_member_at(file, member, self.stop)
        return read_member(Path(file), member, self.where(k))

    def _local_members(self, k: int) -> Iterator[TarMember]:
        return tar_members(Path(self.files[k]))

    def _remote_members(self, k: int) -> Iterable[TarMember]:
        return tar_members_at(self.files[k], self.stop) if is_address(self.files[k]) else [*self._local_members(k)]

    def _file_index(self, k: int) -> int:
        return bisect_right(self._first_indices, k) - 1


class ListedPictures(PictureList):
    """Pictures at paths or addresses, in the given order; threads read addresses in advance.

    folder: the folder that paths are relative to. sizes: in bytes, of all pictures; () if they are unknown.
    """

    def __init__(self, lines: Sequence[str], folder: Path, sizes: Sequence[int] = ()) -> None:
        super().__init__(is_slow=True)
        self.lines, self.folder = lines, folder
        for k, line in enumerate(lines):
            self._hash_picture(line, sizes[k] if sizes else 0)

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.lines)

    def name(self, k: int) -> str:
        """Return path or address k as given."""
        return self.lines[k]

    def where(self, k: int) -> str:
        """Return path or address k as given."""
        return self.lines[k]

    def read(self, k: int) -> Path | bytes:
        """Return the file of a path, or the bytes at an address."""
        line = self.lines[k]
        return read_address(line, self.stop) if is_address(line) else self.folder / line


def is_collection(source: str) -> bool:
    """Return whether a source is a zip, a tar, a pattern or a folder of tars, a list or an address, not a picture."""
    path = Path(source)
    if is_address(source) or source.lower().endswith((ZIP_SUFFIX, TAR_SUFFIX, LIST_SUFFIX, *COMPRESSED_SUFFIXES)):
        return True
    return path.is_dir() and bool(_tars_in(path))


def picture_list(source: str | Sequence[str]) -> PictureList:
    """Return the pictures of a folder, a zip, tars, a list in a .txt file, a bucket, or of several files.

    A pattern such as "shard-{000..099}.tar" names several tars. Raises PellucidError for a source without pictures, and
    for an archive or a list that cannot be read.
    """
    sources = [source] if isinstance(source, str) else [*source]
    pictures = _open_source(sources[0]) if len(sources) == 1 else _open_sources(sources)
    if not len(pictures):
        raise PellucidError(f"{sources[0]} contains no pictures; give a folder, a .zip, a .tar or a list of some")
    return pictures


def _open_source(source: str) -> PictureList:
    path, lower_name = Path(source), (file_name_of(source) if is_address(source) else source).lower()
    if lower_name.endswith(COMPRESSED_SUFFIXES):
        raise PellucidError(f"{source} is compressed, so that no part of it can be read alone; unpack it to a .tar")
    if is_address(source):
        return _open_address(source)
    if path.is_dir():
        tars = _tars_in(path)
        return TarPictures([*map(str, tars)]) if tars else FolderPictures(path)
    if lower_name.endswith(TAR_SUFFIX) and not path.exists() and "{" in source:
        return TarPictures(expand_braces(source))
    if not path.exists():
        raise PellucidError(f"{source} is missing; give a folder, a .zip, a .tar, a .txt file of paths, or an address")
    if lower_name.endswith(TAR_SUFFIX):
        return TarPictures([source])
    if lower_name.endswith(ZIP_SUFFIX):
        return ZipPictures(path)
    if not lower_name.endswith(LIST_SUFFIX) and not is_picture(path.name):
        raise PellucidError(
            f"{source} is no picture, archive or list; a video is read by one process, without torchrun"
        )
    return ListedPictures(_read_list(path) if lower_name.endswith(LIST_SUFFIX) else [path.name], path.parent)


def _open_address(source: str) -> PictureList:
    """Return the pictures at an address: those in a folder of a bucket, or, if it has none, those in its tars."""
    if _is_tar(source):
        check_address(source)
        return TarPictures(expand_braces(source))
    sizes = list_address(source)
    pictures = {name: size for name, size in sizes.items() if not _is_tar(name)}
    return ListedPictures([*pictures], Path(), [*pictures.values()]) if pictures else TarPictures([*sizes])


def _open_sources(sources: Sequence[str]) -> PictureList:
    if all(map(_is_tar, sources)):
        return TarPictures(sources)
    not_picture = next((source for source in sources if Path(source).is_dir() or is_collection(source)), None)
    if not_picture is not None:
        raise PellucidError(
            f"{not_picture} is not a picture; give it alone, or several pictures, or several .tar files"
        )
    return ListedPictures([*sources], Path())


def _is_tar(source: str) -> bool:
    return (file_name_of(source) if is_address(source) else source).lower().endswith(TAR_SUFFIX)


def _tars_in(folder: Path) -> list[Path]:
    """Return the sorted tars of a folder; none if the folder also contains pictures."""
    try:
        names = os.listdir(folder)
    except OSError:  # it is raised again when the pictures are read
        return []
    tar_names = sorted(name for name in names if name.lower().endswith(TAR_SUFFIX) and is_listed(name))
    return [] if any(map(is_picture, names)) else [folder / name for name in tar_names]


def _add_picture_sizes(folder: Path, prefix: str, sizes: dict[str, int]) -> None:
    """Add the pictures below a folder with their sizes, -1 for one that cannot be read; hidden ones are left out."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = f"{prefix}{entry.name}"
                if not is_listed(entry.name):
                    continue
                if entry.is_dir(follow_symlinks=False):  # a link could lead back to this folder
                    _add_picture_sizes(Path(entry.path), f"{name}/", sizes)
                elif is_picture(entry.name):
                    try:
                        sizes[name] = entry.stat().st_size
                    except OSError:
                        sizes[name] = -1
    except OSError as error:
        raise PellucidError(f"{folder} cannot be listed ({error.strerror}); check its permissions") from error


def _read_list(path: Path) -> list[str]:
    """Return the lines of a list of paths and addresses that are not empty; raise PellucidError for other files."""
    lines: list[str] = []
    first_by_scheme: dict[str, str] = {}  # the first address of each scheme
    try:
        data = read_regular(path, MAX_LIST_BYTES)
    except OSError as error:
        raise PellucidError(f"{path} cannot be read ({error}); give a list of paths or addresses") from error
    for number, line in enumerate(re.split("\r\n|\n|\r", decode_text(data, str(path))), 1):
        text = line.strip()
        if len(line.encode()) > MAX_LIST_LINE_BYTES:
            raise PellucidError(f"{path}, line {number} is no path or address; write one in each line")
        if is_address(text):
            first_by_scheme.setdefault(text.partition("://")[0], text)
        if text:
            lines.append(text)
    check_readable(first_by_scheme.values())
    return lines
