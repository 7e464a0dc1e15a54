"""Tables of labels in folders and zips, and the pictures that their rows name."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pellucid.base.errors import PellucidError
from pellucid.base.files import STILL_SUFFIXES, read_regular, reason_of
from pellucid.base.limits import MAX_TABLE_BYTES
from pellucid.data.parts import TRAIN, standard_part
from pellucid.data.table_targets import file_column
from pellucid.data.tables import TABLE_SUFFIXES, LabelTable, read_table
from pellucid.data.tree import FolderTree, Tree, ZipTree

IMAGE_FOLDERS = ("", "images/")  # beside a table
TABLE_STEMS = ("_classes", "labels", "annotations", "metadata")  # of tables beside other tables


@dataclass(frozen=True)
class TableFile:
    """A table in a folder or a zip: its path there, and the part that its name or its folder means, "" for none."""

    name: str
    part: str

    @property
    def folder(self) -> str:
        """The folder of the table, such as "train/"."""
        return self.name[: self.name.rfind("/") + 1]


class Pictures:
    """The files beside tables in a folder or a zip, of which a folder is not searched: it may be a home folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.zip = ZipTree(path) if path.is_file() else None
        self.members = {*self.zip.names} if self.zip else set[str]()

    def tree(self, names: Sequence[str]) -> Tree:
        """Return the tree of the files with these names."""
        return self.zip or _ListedFiles(self.path, names)

    def find(self, text: str, folder: str = "") -> str | None:
        """Return the name of the picture that a cell of a table in `folder` names, None if there is none."""
        text = text.strip().replace("\\", "/")
        if not text or "\0" in text or len(text) > 4096:  # longer than any path
            return None
        suffixes = [""]
        if PurePosixPath(text).suffix.lower() not in STILL_SUFFIXES:
            suffixes = [spelling for suffix in STILL_SUFFIXES for spelling in (suffix, suffix.upper())]
        for prefix in dict.fromkeys(
            f"{table_folder}{image_folder}" for table_folder in (folder, "") for image_folder in IMAGE_FOLDERS
        ):
            for suffix in suffixes:
                name = os.path.normpath(os.path.join(prefix, text + suffix))
                if self._is_file(name):
                    return name
        return None

    def _is_file(self, name: str) -> bool:
        if self.zip is not None:
            return name in self.members
        try:
            return (self.path / name).is_file()
        except (OSError, ValueError):  # a name that no file system allows
            return False


class _ListedFiles(FolderTree):
    """Files by their paths relative to a folder, or absolute paths; the folder is not searched."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        Tree.__init__(self, path, names, ())


def table_files(path: Path) -> tuple[Path, list[TableFile]]:
    """Return the folder or zip of the tables that a path names, and its tables: a file, or those of a folder.

    A folder has one table, also in one of its folders, one for each of its folders train, valid and test, or one named
    like each part.
    """
    if path.suffix.lower() in TABLE_SUFFIXES and path.is_file():
        return path.parent, [TableFile(path.name, "")]
    if path.is_file():
        names = ZipTree(path).names if path.suffix.lower() == ".zip" else ()
        top_folders = {name.split("/")[0] for name in names if name.count("/") >= 1}
        names_by_folder = {
            folder: [name for name in names if name.startswith(f"{folder}/") and name.count("/") == 1]
            for folder in top_folders
        }
        names_by_folder[""] = [name for name in names if "/" not in name]
    elif path.is_dir():
        entries = sorted(os.scandir(path), key=lambda entry: entry.name)
        names_by_folder = {"": [entry.name for entry in entries if entry.is_file()]}
        for entry in entries:
            if standard_part(entry.name) and entry.is_dir():
                names_by_folder[entry.name] = [f"{entry.name}/{name}" for name in sorted(os.listdir(entry.path))]
    else:
        return path, []
    tables_by_folder = {
        folder: [name for name in names if _is_table_name(name)] for folder, names in names_by_folder.items()
    }
    tables_in_parts = [
        TableFile(name, folder)
        for folder in tables_by_folder
        if standard_part(folder)
        for name in _main_table(tables_by_folder[folder])
    ]
    if tables_in_parts:
        return path, tables_in_parts
    tables_named_as_parts = [TableFile(name, PurePosixPath(name).stem) for name in tables_by_folder.get("", ())]
    tables_named_as_parts = [table for table in tables_named_as_parts if standard_part(table.part)]
    if any(standard_part(table.part) == TRAIN for table in tables_named_as_parts):
        return path, tables_named_as_parts
    names = _main_table(tables_by_folder.get("", [])) or _in_one_subfolder(path, tables_by_folder)
    return path, [TableFile(name, "") for name in names]


def _in_one_subfolder(path: Path, tables_by_folder: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the table with a usual name in a folder directly below, if only one of these folders has such a table.

    tables_by_folder: of a zip. The folders of a folder are not listed, since they may have many images.
    """
    if path.is_file():
        candidates = [name for names in tables_by_folder.values() for name in names if "/" in name]
    else:
        usual_names = [f"{stem}{suffix}" for stem in TABLE_STEMS for suffix in TABLE_SUFFIXES]
        subfolders = sorted(
            entry.name for entry in os.scandir(path) if entry.is_dir() and not entry.name.startswith(".")
        )
        candidates = [
            f"{folder}/{name}" for folder in subfolders for name in usual_names if (path / folder / name).is_file()
        ]
    usual_tables = [name for name in candidates if PurePosixPath(name).stem.lower() in TABLE_STEMS]
    folders = {name.split("/")[0] for name in usual_tables}
    return _main_table(usual_tables) if len(folders) == 1 else []


def _is_table_name(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in TABLE_SUFFIXES and not PurePosixPath(name).name.startswith(".")


def _main_table(names: Sequence[str]) -> list[str]:
    """Return the table among the tables of one folder: the only one, or the first with a usual name."""
    if len(names) == 1:
        return [*names]
    name_by_stem = {PurePosixPath(name).stem.lower(): name for name in names}
    return [name_by_stem[stem] for stem in TABLE_STEMS if stem in name_by_stem][:1]


def has_table(name: str) -> bool:
    """Return whether a path is a table of labels, or a folder or zip with one, whose rows name existing pictures.

    A table of other contents, such as the colours of masks, does not count, unless it is given itself.
    """
    path = Path(name)
    folder, found_tables = table_files(path)
    if not found_tables or path.suffix.lower() in TABLE_SUFFIXES:
        return bool(found_tables)
    pictures = Pictures(folder)
    try:
        table = read_table_file(pictures, found_tables[0])
        column = file_column(table, lambda cell: pictures.find(cell, found_tables[0].folder) is not None)
    except PellucidError:
        return False
    # A hundred rows suffice: in a table of labels, nearly all pictures exist.
    return any(pictures.find(str(cell), found_tables[0].folder) for cell in table.column(column)[:100])


def table_columns(name: str) -> tuple[str, ...]:
    """Return the columns of the first table that a path names; raises the errors of `load_table`."""
    folder, found_tables = table_files(Path(name))
    return read_table_file(Pictures(folder), found_tables[0]).columns if found_tables else ()


def read_table_file(pictures: Pictures, file: TableFile) -> LabelTable:
    """Return the contents of a table; raises PellucidError if it cannot be read."""
    if pictures.zip is not None:
        return read_table(pictures.zip.read(file.name), pictures.zip.where(file.name))
    path = pictures.path / file.name
    try:
        return read_table(read_regular(path, MAX_TABLE_BYTES), str(path))
    except OSError as error:
        raise PellucidError(f"{path} cannot be read ({reason_of(error)}); give a table of labels") from error
