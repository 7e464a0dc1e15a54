"""The files below a folder or inside a zip, read the same way, and where classes and parts lie among them."""

import lzma
import os
import re
import stat
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path, PurePosixPath

from pellucid.data.images import FILE_LIMIT, read_file
from pellucid.errors import PellucidError

TRAIN = "train"
HELD_OUT = ("test", "val", "valid", "validation")
_DESKTOP_FILES = ("__MACOSX", "Thumbs.db", "desktop.ini")
SAMPLE = 4096  # bytes
_DEFLATE_RATIO = 1032  # deflate expands no further; bzip2 and lzma can, and are refused above it

_DRIVE = re.compile(r"[A-Za-z]:")

# What zipfile raises on damaged members; RuntimeError covers unknown compression and encryption.
_DAMAGE = (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, zlib.error, lzma.LZMAError)


class Tree(ABC):
    """Files by their paths relative to a root; hidden files and those that desktops create are not listed.

    names: sorted, with "/" between the parts. empty: folders without any of these files below them, sorted likewise.
    """

    def __init__(self, path: Path, files: Iterable[str], folders: Iterable[str]) -> None:
        self.path, self.names = path, _listed(files)
        filled = {str(parent) for name in self.names for parent in PurePosixPath(name).parents}
        self.empty = _listed(folder for folder in folders if folder not in filled)

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Return the bytes of one file; PellucidError when they cannot be read or are too many."""

    @abstractmethod
    def fingerprint(self, name: str) -> str:
        """Return a text that changes with the file's content, without reading all of a large file."""

    @abstractmethod
    def where(self, name: str) -> str:
        """Return the name of that file for error messages."""

    @abstractmethod
    def close(self) -> None:
        """Close what the tree holds open."""


@contextmanager
def open_tree(path: str | os.PathLike[str]) -> Iterator[Tree]:
    """Open a folder or a .zip, and close it at the end; see `tree_at`."""
    with closing(tree_at(path)) as tree:
        yield tree


def tree_at(path: str | os.PathLike[str]) -> Tree:
    """Return a folder or a .zip as a tree; PellucidError when it is neither, damaged or encrypted."""
    path = Path(path)
    if path.is_dir():
        return FolderTree(path)
    if path.is_file():
        return ZipTree(path)
    raise PellucidError(f"{path} is missing; give a folder of images or a .zip of one")


class FolderTree(Tree):
    """The files below a folder; links to folders are followed at the first level only."""

    def __init__(self, path: Path) -> None:
        files: list[Path] = []
        folders: list[Path] = []
        try:
            for top in path.iterdir():
                if top.is_dir():
                    _walk(top, files, folders)
                else:
                    files.append(top)
        except OSError as error:
            raise PellucidError(f"{path} cannot be listed ({error}); check its permissions") from error
        below = [[one.relative_to(path).as_posix() for one in some] for some in (files, folders)]
        super().__init__(path, *below)

    def read(self, name: str) -> bytes:
        """Return the bytes of one file."""
        return read_file(self.path / name)

    def fingerprint(self, name: str) -> str:
        """Return a file's size and the CRC-32 of its beginning, middle and end, SAMPLE bytes each.

        Files of up to three times SAMPLE are covered whole. In a larger PNG any change of a pixel shows, as its
        checksum is at the end, and in a JPEG nearly any, as what follows it shifts. A change between these places in a
        large uncompressed image does not show.
        """
        path = self.path / name
        try:
            with path.open("rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                crc = 0
                for at in sorted({0, max(0, (size - SAMPLE) // 2), max(0, size - SAMPLE)}):
                    file.seek(at)
                    crc = zlib.crc32(file.read(SAMPLE), crc)
        except OSError as error:
            raise PellucidError(f"{path} cannot be read ({error}); give a picture file") from error
        return f"{size}:{crc}"

    def where(self, name: str) -> str:
        """Return the path of that file."""
        return str(self.path / name)

    def close(self) -> None:
        """Do nothing: files are open only while they are read."""


def _walk(folder: Path, files: list[Path], folders: list[Path]) -> None:
    """Add a folder and all below it; OSError where a part cannot be listed, which a glob would leave out."""
    if not _is_listed(folder.name):
        return

    def fail(error: OSError) -> None:
        raise error

    for parent, _, names in os.walk(folder, onerror=fail):
        folders.append(Path(parent))
        files += [Path(parent, name) for name in names]


class ZipTree(Tree):
    """The members of a zip file, read in place: nothing is extracted."""

    def __init__(self, path: Path) -> None:
        try:
            with ExitStack() as stack:
                self._zip = stack.enter_context(zipfile.ZipFile(path))
                members = self._zip.infolist()
                for info in members:
                    _check_inside(path, info)
                self._members = {i.filename: i for i in members if not i.is_dir() and _is_listed(i.filename)}
                if len({i.filename for i in members}) != len(members):
                    raise PellucidError(f"{path} holds two files of the same name; make the zip again")
                stack.pop_all()
        except _DAMAGE as error:
            raise PellucidError(f"{path} is not a readable zip file ({error}); make it again") from error
        super().__init__(path, self._members, (i.filename.rstrip("/") for i in members if i.is_dir()))

    def read(self, name: str) -> bytes:
        """Return the bytes of one member, at most `FILE_LIMIT`, with its CRC checked."""
        info = self._members[name]
        if info.flag_bits & 1:
            raise PellucidError(f"{self.where(name)} is encrypted; make the zip without a password")
        if info.file_size > min(FILE_LIMIT, max(info.compress_size, 1) * _DEFLATE_RATIO):
            raise PellucidError(f"{self.where(name)} declares {info.file_size} bytes, too many to unpack; replace it")
        try:
            with self._zip.open(info) as member:
                data = member.read(info.file_size + 1)
        except _DAMAGE as error:
            raise PellucidError(f"{self.where(name)} cannot be unpacked ({error}); make the zip again") from error
        if len(data) != info.file_size:
            raise PellucidError(f"{self.where(name)} is not as long as the zip declares; make the zip again")
        return data

    def fingerprint(self, name: str) -> str:
        """Return the size and the CRC-32 of a member, from the zip's directory."""
        return f"{self._members[name].file_size}:{self._members[name].CRC}"

    def where(self, name: str) -> str:
        """Return `FILE.zip:MEMBER`."""
        return f"{self.path}:{name}"

    def close(self) -> None:
        """Close the zip file."""
        self._zip.close()


def _check_inside(path: Path, info: zipfile.ZipInfo) -> None:
    """Raise PellucidError for a member that is a link, or whose name is not a plain path inside the zip."""
    parts = info.filename.removesuffix("/").split("/")
    if "\\" in info.filename or _DRIVE.match(info.filename) or not {"", ".", ".."}.isdisjoint(parts):
        why = "whose name is not a path inside it"
    elif stat.S_ISLNK(info.external_attr >> 16):
        why = "which is a symbolic link"
    else:
        return
    raise PellucidError(f"{path} has the member {info.filename!a:.200}, {why}; make the zip again")


def _listed(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names that are not hidden, sorted."""
    return tuple(sorted(name for name in names if _is_listed(name)))


def _is_listed(name: str) -> bool:
    return not any(part.startswith(".") or part in _DESKTOP_FILES for part in PurePosixPath(name).parts)


def root_of(tree: Tree) -> str:
    """Return the one folder that a zip was wrapped in, as a prefix, else ""."""
    tops = {name.split("/", 1)[0] for name in tree.names}
    deep = all(name.count("/") >= 2 for name in tree.names)
    wrapped = len(tops) == 1 and deep and not tops & {TRAIN, *HELD_OUT}
    # CLASS/folder/IMAGE with a single class looks the same; one class is nothing to learn from.
    return f"{tops.pop()}/" if wrapped else ""


def parts_of(tree: Tree, root: str) -> set[str]:
    """Return the names of the folders below `root` that hold class folders."""
    below = (name.removeprefix(root) for name in tree.names)
    return {name.split("/", 1)[0] for name in below if name.count("/") >= 2}


def classes_of(tree: Tree, root: str) -> tuple[str, ...]:
    """Return the class folders below `root`, sorted; PellucidError when there are none, or one is empty."""
    classes = sorted({class_of(name, root) for name in files_of(tree, root)})
    empty = [name for name in tree.empty if name.startswith(root) and "/" not in name.removeprefix(root)]
    if empty:
        raise PellucidError(f"{tree.where(empty[0])} is a class folder without pictures; add some, or remove it")
    if not classes:
        raise PellucidError(f"{tree.where(root)} has no class folders; lay it out as CLASS/IMAGE")
    return tuple(classes)


def part_classes(tree: Tree, root: str, part: str) -> tuple[str, tuple[str, ...]]:
    """Return the prefix of a part's files, and the classes: those of the training part where there is one.

    part: a folder of class folders, "" for the tree itself. Raises PellucidError for a class that the training part
    lacks.
    """
    below = f"{root}{part}/" if part else root
    own = classes_of(tree, below)
    if not part or part == TRAIN or TRAIN not in parts_of(tree, root):
        return below, own
    classes = classes_of(tree, f"{root}{TRAIN}/")
    unknown = sorted(set(own) - set(classes))
    if unknown:
        raise PellucidError(f"{tree.where(below + unknown[0])} is a class that {TRAIN}/ lacks; add it there")
    return below, classes


def files_of(tree: Tree, root: str) -> list[str]:
    """Return the files of the class folders below `root`, sorted."""
    return [name for name in tree.names if name.startswith(root) and "/" in name.removeprefix(root)]


def class_of(name: str, root: str) -> str:
    """Return the class of a file below `root`."""
    return name.removeprefix(root).split("/", 1)[0]
