"""Files in a folder or a zip with one interface."""

import lzma
import os
import re
import stat
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import cached_property
from pathlib import Path, PurePosixPath

from pellucid.base.errors import PellucidError
from pellucid.base.files import is_hidden_picture, is_listed
from pellucid.base.limits import MAX_DOCUMENT_BYTES, MAX_DOCUMENT_RATIO, MAX_IMAGE_BYTES, MAX_YAML_BYTES
from pellucid.data.images import read_file

SAMPLE_BYTES = 4096  # bytes at each of three positions of a file, for its fingerprint
_MAX_DEFLATE_RATIO = 1032  # compression ratio of deflate; a member above it cannot be valid
DOCUMENT_SUFFIXES = (".json", ".xml", ".txt", ".yaml", ".yml", ".names", ".csv")  # of annotations and lists
YAML_SUFFIXES = (".yaml", ".yml")
MIN_DOCUMENT_BYTES = 256 << 10  # all such files in a zip together may always have this size

_DRIVE = re.compile(r"[A-Za-z]:")
_PATH_KEY = re.compile(r"^path:[ \t]*(\S.*?)[ \t]*(?:#.*)?$", re.MULTILINE)

# Exceptions of zipfile for damaged members; RuntimeError: unknown compression and encryption.
_DAMAGE_ERRORS = (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, zlib.error, lzma.LZMAError)


class Tree(ABC):
    """Files by path relative to a root, without hidden files and files that desktop systems create.

    names: sorted paths with "/" as separator. empty_folders: sorted paths of the folders that contain none of these
    files, at any depth. hidden_pictures: sorted paths of hidden images. links: sorted paths of links to folders, which
    are not followed. settings: the path of the YAML file by which the tree was named, absolute if it is on another
    drive; "" for none.
    """

    settings = ""

    def __init__(self, path: Path, files: Iterable[str], folders: Iterable[str], links: Iterable[str] = ()) -> None:
        files = [*files]
        self.path, self.names = path, _visible(files)
        self.hidden_pictures = tuple(sorted(filter(is_hidden_picture, files)))
        self.links = _visible(links)
        nonempty = {str(parent) for name in self.names for parent in PurePosixPath(name).parents}
        self.empty_folders = _visible(folder for folder in folders if folder not in nonempty)

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Return the bytes of one file; raise PellucidError if it cannot be read or is too large."""

    @abstractmethod
    def document(self, name: str) -> bytes:
        """Return the bytes of an annotation file or list, at most MAX_DOCUMENT_BYTES; raise the errors of `read`."""

    @abstractmethod
    def size(self, name: str) -> int:
        """Return the number of bytes of one file."""

    @cached_property
    def document_bytes(self) -> int:
        """The number of bytes of all annotation files and lists."""
        return sum(self.size(name) for name in self.names if name.lower().endswith(DOCUMENT_SUFFIXES))

    @abstractmethod
    def fingerprint(self, name: str) -> str:
        """Return a string that changes with the file's content, computed without reading all of a large file."""

    @abstractmethod
    def where(self, name: str) -> str:
        """Return the name of a file for error messages."""

    @abstractmethod
    def close(self) -> None:
        """Close open files."""


@contextmanager
def open_tree(path: str | os.PathLike[str]) -> Iterator[Tree]:
    """Return a context manager that opens a folder or a .zip and closes it at the end; see `tree_at`."""
    with closing(tree_at(path)) as tree:
        yield tree


def tree_at(path: str | os.PathLike[str]) -> Tree:
    """Return a folder or a .zip as a tree, or the folder of a YAML file of YOLO, see `data_folder`.

    Raises PellucidError if it is missing or a damaged zip.
    """
    path = Path(path)
    if path.is_dir():
        return FolderTree(path)
    if (folder := data_folder(path)) != path:
        tree = FolderTree(folder)
        try:
            tree.settings = Path(os.path.relpath(path, folder)).as_posix()
        except ValueError:  # on another drive of Windows
            tree.settings = path.resolve().as_posix()
        return tree
    if path.suffix.lower() != ".zip" and path.is_file() and not zipfile.is_zipfile(path):
        raise PellucidError(f"{path} is neither a folder nor a .zip; give the folder that it is in, or a .zip of it")
    if path.is_file():
        return ZipTree(path)
    if path.exists():
        raise PellucidError(f"{path} is not a folder or a file; give a folder of images, or a .zip of such a folder")
    raise PellucidError(f"{path} is missing; give a folder of images, or a .zip of such a folder")


def data_folder(path: str | os.PathLike[str]) -> Path:
    """Return the folder that the key `path` of a YAML file names, if it exists, otherwise the folder of the file.

    Other paths are returned unchanged.
    """
    path = Path(path)
    if path.suffix.lower() not in YAML_SUFFIXES or not path.is_file() or zipfile.is_zipfile(path):
        return path
    text = read_file(path, MAX_YAML_BYTES, "a file of settings").decode("utf-8", errors="replace")
    path_match = _PATH_KEY.search(text)
    folder = path.parent / path_match[1].strip("'\"") if path_match else path.parent
    return folder if folder.is_dir() else path.parent


class FolderTree(Tree):
    """The files below a folder.

    A link to a folder is followed only at the first level, and only to a folder outside, such as a part on another
    disk. A link to another folder of the tree would add the same files under a second name, such as a second class.
    """

    def __init__(self, path: Path) -> None:
        files: list[Path] = []
        folders: list[Path] = []
        links: list[Path] = []
        try:
            root = path.resolve()
            linked: set[Path] = set()  # folders outside that a link names
            for entry in sorted(path.iterdir()):
                if entry.is_symlink() and entry.is_dir():
                    target = entry.resolve()
                    if target in linked or target.is_relative_to(root) or root.is_relative_to(target):
                        links.append(entry)
                        continue
                    linked.add(target)
                if entry.is_dir():
                    _add_folder(entry, files, folders, links)
                else:
                    files.append(entry)
        except OSError as error:
            raise PellucidError(f"{path} cannot be listed ({error}); check its permissions") from error
        names = [[file.relative_to(path).as_posix() for file in paths] for paths in (files, folders, links)]
        super().__init__(path, *names)

    def read(self, name: str) -> bytes:
        """Return the bytes of one file."""
        return read_file(self.path / name)

    def document(self, name: str) -> bytes:
        """Return the bytes of an annotation file or list."""
        return read_file(self.path / name, MAX_DOCUMENT_BYTES, "a file of annotations")

    def size(self, name: str) -> int:
        """Return the number of bytes of one file."""
        try:
            return (self.path / name).stat().st_size
        except OSError:  # it is raised again when the file is read
            return 0

    def fingerprint(self, name: str) -> str:
        """Return a file's size and the CRC-32 of its beginning, middle and end, SAMPLE_BYTES each.

        All bytes of a file of up to three times SAMPLE_BYTES are covered. In a larger PNG or JPEG a changed pixel
        nearly always changes the fingerprint, since the bytes after it change too. A change between these positions in
        a large uncompressed image is not detected.
        """
        path = self.path / name
        try:
            if not path.is_file():
                raise PellucidError(f"{path} is {'not a file' if path.exists() else 'missing'}; give an image file")
            with path.open("rb", buffering=0) as file:
                file_size = os.fstat(file.fileno()).st_size
                crc = 0
                for position in sorted({0, max(0, (file_size - SAMPLE_BYTES) // 2), max(0, file_size - SAMPLE_BYTES)}):
                    file.seek(position)
                    crc = zlib.crc32(file.read(SAMPLE_BYTES), crc)
        except OSError as error:
            raise PellucidError(f"{path} cannot be read ({error}); give an image file") from error
        return f"{file_size}:{crc}"

    def where(self, name: str) -> str:
        """Return the path of a file."""
        return str(self.path / name)

    def close(self) -> None:
        """Do nothing: files are open only while they are read."""


def _add_folder(folder: Path, files: list[Path], folders: list[Path], links: list[Path]) -> None:
    """Add a folder, and all files and links to folders below it.

    Raises OSError for a folder that cannot be listed, which glob would skip.
    """
    if not is_listed(folder.name):
        return

    def raise_error(error: OSError) -> None:
        raise error

    for parent, subfolders, names in os.walk(folder, onerror=raise_error):
        folders.append(Path(parent))
        links += [link for name in subfolders if (link := Path(parent, name)).is_symlink()]
        files += [Path(parent, name) for name in names]


class ZipTree(Tree):
    """The members of a zip file, read in place: nothing is extracted."""

    def __init__(self, path: Path) -> None:
        try:
            with ExitStack() as stack:
                self._zip = stack.enter_context(zipfile.ZipFile(path))
                self._zip_bytes = path.stat().st_size
                members = self._zip.infolist()
                for info in members:
                    _check_inside(path, info)
                self._members = {i.filename: i for i in members if not i.is_dir() and is_listed(i.filename)}
                if len({i.filename for i in members}) != len(members):
                    raise PellucidError(f"{path} contains two files of the same name; make the zip again")
                stack.pop_all()  # the zip stays open, since it is valid
        except _DAMAGE_ERRORS as error:
            raise PellucidError(f"{path} is not a readable zip file ({error}); make it again") from error
        files = [i.filename for i in members if not i.is_dir()]
        super().__init__(path, files, (i.filename.rstrip("/") for i in members if i.is_dir()))

    def read(self, name: str) -> bytes:
        """Return the bytes of one member, at most MAX_IMAGE_BYTES, with its CRC checked."""
        return self._unpack(name, MAX_IMAGE_BYTES)

    def document(self, name: str) -> bytes:
        """Return the bytes of an annotation file or list; raise PellucidError if all are far larger than the zip."""
        if self.document_bytes > max(MIN_DOCUMENT_BYTES, MAX_DOCUMENT_RATIO * self._zip_bytes):
            raise PellucidError(
                f"{self.where(name)} is not unpacked: a zip of {self._zip_bytes} bytes would become "
                f"{self.document_bytes} bytes of annotations, above the limit of {MAX_DOCUMENT_RATIO} times as many; "
                "unpack it into a folder"
            )
        return self._unpack(name, MAX_DOCUMENT_BYTES)

    def size(self, name: str) -> int:
        """Return the number of bytes of one member, from the zip's directory."""
        return self._members[name].file_size

    def _unpack(self, name: str, limit: int) -> bytes:
        info = self._members[name]
        if info.flag_bits & 1:
            raise PellucidError(f"{self.where(name)} is encrypted; make the zip without a password")
        if info.file_size > min(limit, max(info.compress_size, 1) * _MAX_DEFLATE_RATIO):
            raise PellucidError(f"{self.where(name)} declares {info.file_size} bytes, too many to unpack; replace it")
        try:
            with self._zip.open(info) as member:
                data = member.read(info.file_size + 1)
        except _DAMAGE_ERRORS as error:
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
    """Raise PellucidError if a member is a link, or its name is not a plain path inside the zip."""
    parts = info.filename.removesuffix("/").split("/")
    if "\\" in info.filename or _DRIVE.match(info.filename) or not {"", ".", ".."}.isdisjoint(parts):
        reason = "whose name is not a path inside it"
    elif stat.S_ISLNK(info.external_attr >> 16):  # the file's mode on Unix
        reason = "which is a symbolic link"
    else:
        return
    raise PellucidError(f"{path} has the member {info.filename!a:.200}, {reason}; make the zip again")


def _visible(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names that are not hidden, sorted."""
    return tuple(sorted(name for name in names if is_listed(name)))
