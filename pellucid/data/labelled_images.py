"""Images with labels in a table: the source of the examples, and its parts."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.limits import MAX_DATA_BYTES
from pellucid.base.text import case_variants, note_once, plural
from pellucid.data.files import ImageFiles, split_by_readability
from pellucid.data.image_formats import ColourMode
from pellucid.data.parts import parts_among, standard_part
from pellucid.data.skipping import note_skipped_names, skips
from pellucid.data.source import Subset
from pellucid.data.splitting import hold_out
from pellucid.data.table_files import Pictures, read_table_file, table_files
from pellucid.data.table_targets import (
    MAX_LISTED_NAMES,
    TableFormat,
    check_occurrence,
    part_of_cell,
    recognize,
    targets_of,
)
from pellucid.data.tables import TABLE_SUFFIXES, LabelTable, table_of_frame
from pellucid.data.tree import Tree

TEST_FRACTION = 0.2
COPY_MARK = ".rf."  # between the name of a picture and the number of its augmented copy, in exports of Roboflow
KEY_BYTES = 8  # of the hash of a picture's name, which decides the order of the pictures in a draw


class TableImages(ImageFiles):
    """Images whose targets are in a table: one class (an index), or several labels or numbers (a tensor).

    tree: the files of the folder or zip by their paths in it; names: those of the images. y: the targets of all images,
    see `targets_of`. format_found: how the table states them. parts: the name of the part of each image, "" for none.
    Images are decoded once and stay in memory if they have one size and fit; with stream=True they are always decoded
    anew.
    """

    def __init__(
        self,
        tree: Tree,
        names: Sequence[str],
        y: Tensor,
        format_found: TableFormat,
        parts: Sequence[str] = (),
        *,
        size: int | tuple[int, int] | None = None,
        mode: ColourMode = "RGB",
        stream: bool = False,
    ) -> None:
        super().__init__(
            tree, names, size=size, mode=mode, classes=None if format_found.kind == "numbers" else format_found.names
        )
        self.y = y
        self.format_found = format_found
        self.parts = tuple(parts) or ("",) * len(self.names)
        n_bytes = 0 if self.size is None else len(self.names) * 3 * self.size[0] * self.size[1]
        self._decoded: dict[int, Tensor] | None = {} if not stream and 0 < n_bytes <= MAX_DATA_BYTES else None

    @property
    def preprocess(self) -> dict[str, Any]:
        """What the targets are, for predictions and for the evaluation on other tables."""
        format_found = self.format_found
        return {
            "table": {
                "kind": format_found.kind,
                "files": format_found.files,
                "columns": [*format_found.columns],
                "separator": format_found.separator,
                "split": format_found.split,
                "names": [*format_found.names],
                "units": [*format_found.units],
            }
        }

    def image(self, k: int) -> Tensor:
        """Return image k (C, H, W), uint8."""
        if self._decoded is None:
            return super().image(k)
        if k not in self._decoded:
            self._decoded[k] = super().image(k)
        return self._decoded[k]

    def example(self, k: int) -> tuple[Tensor, Any]:
        """Return image k and its target."""
        return self.image(k), int(self.y[k]) if self.y.dim() == 1 else self.y[k]

    def draw(self, indices: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
        """Divide the images at `indices`, and return the positions in `indices` of those that remain and are held out.

        The draw depends on the names of the files, so that rows can be added. The rarest label of each picture is
        held out in proportion. Copies of one picture that Roboflow made stay together.
        """
        names = [self.names[k] for k in indices.tolist()]
        index_by_picture: dict[str, int] = {}
        groups = [index_by_picture.setdefault(name.split(COPY_MARK)[0] if COPY_MARK in name else name, k)
                    for k, name in enumerate(names)]  # fmt: skip
        keys = [int.from_bytes(hashlib.sha256(name.encode(errors="surrogateescape")).digest()[:KEY_BYTES])
                for name in names]  # fmt: skip
        held_out = hold_out(_strata(self.y[indices], self.format_found), groups, keys, fraction, seed)
        if not 0 < len(held_out) < len(names):
            raise PellucidError(
                f"{self.tree.path}: {plural(len(names), 'image')} cannot be divided; add images, or give parts by a "
                "column split with train and test"
            )
        is_held_out = torch.zeros(len(names), dtype=torch.bool)
        is_held_out[held_out] = True
        return torch.nonzero(~is_held_out).flatten(), torch.nonzero(is_held_out).flatten()

    def _compute_checksum(self) -> str:
        digest = hashlib.sha256(super()._compute_checksum().encode())
        digest.update(self.y.numpy().tobytes())
        return digest.hexdigest()


def _strata(y: Tensor, format_found: TableFormat) -> list[int]:
    """Return the class of each image, its rarest label (K without labels), or 0 for numbers."""
    if format_found.kind == "class":
        return y.tolist()
    if format_found.kind == "numbers":
        return [0] * len(y)
    counts = torch.where(y > 0, y.sum(0), torch.inf)  # (N, K)
    return torch.where(y.any(1), counts.argmin(1), y.shape[1]).tolist()


def load_table(
    path: str | os.PathLike[str],
    requested: TableFormat,
    *,
    size: int | tuple[int, int] | None = None,
    mode: ColourMode = "RGB",
    stream: bool = False,
) -> TableImages:
    """Return the images of the tables that a path names, see `table_files`; one note says what was recognized.

    Raises PellucidError, which names the file, the row and what to do, for tables that cannot be read or understood,
    for missing files, and for a file with two different labels. Inside `skipping`, missing files are left out.
    """
    folder, files = table_files(Path(path))
    if not files:
        raise PellucidError(f"{path} has no table of labels; give a {', '.join(TABLE_SUFFIXES)} file with file names")
    pictures = Pictures(folder)
    tables = [read_table_file(pictures, file) for file in files]
    for table in tables[1:]:
        if {*table.columns} != {*tables[0].columns}:
            different_names = sorted({*table.columns} ^ {*tables[0].columns})
            raise PellucidError(
                f"{table.name} has other columns than {tables[0].name}: {', '.join(map(repr, different_names)):.200}; "
                "give all parts the same columns"
            )
    columns = tables[0].columns
    cells = [[row[table.columns.index(name)] for name in columns] for table in tables for row in table.cells]
    row_names = [row_name for table in tables for row_name in table.row_names]
    name = tables[0].name if len(tables) == 1 else str(path)
    delimiters = {table.delimiter for table in tables}
    joined_table = LabelTable(name, columns, cells, row_names, delimiters.pop() if len(delimiters) == 1 else "")
    folders = [file.folder for file, table in zip(files, tables, strict=True) for _ in table.cells]
    parts = [file.part for file, table in zip(files, tables, strict=True) for _ in table.cells]
    return _images_of_rows(pictures, joined_table, folders, parts, requested, size, mode, stream)


def _images_of_rows(
    pictures: Pictures, table: LabelTable, folders: Sequence[str], parts: Sequence[str], requested: TableFormat,
    size: int | tuple[int, int] | None, mode: ColourMode, stream: bool,
) -> TableImages:  # fmt: skip
    """Return the images of the rows of a table. folders, parts: of the table of each row."""
    first_folder = folders[0]
    format_found = recognize(table, lambda cell: pictures.find(cell, first_folder) is not None, requested)
    if format_found.split:
        parts = [part_of_cell(cell, format_found.split) for cell in table.column(format_found.split)]
    texts = table.column(format_found.files)
    names = [pictures.find(str(cell or ""), folder) for cell, folder in zip(texts, folders, strict=True)]
    missing_rows = [k for k, name in enumerate(names) if name is None]
    if missing_rows and not skips():
        examples_text = ", ".join(repr(texts[k])[:80] for k in missing_rows[:MAX_LISTED_NAMES])
        raise PellucidError(
            f"{table.row_names[missing_rows[0]]}: {len(missing_rows):,} of {plural(len(names), 'picture')} are "
            f"missing, such as {examples_text}; put them beside the table or into images/, or correct "
            f"{format_found.files!r:.40}"
        )
    present_rows = [k for k, name in enumerate(names) if name is not None]
    if not present_rows:
        raise PellucidError(f"{table.name}: none of its {plural(len(names), 'picture')} exists; check the file names")
    present_table = replace(
        table, cells=[table.cells[k] for k in present_rows], row_names=[table.row_names[k] for k in present_rows]
    )
    y, format_found = targets_of(present_table, format_found)
    present_names = [str(names[k]) for k in present_rows]
    unique_rows = _unique_rows(present_names, y, present_table.row_names)
    tree = pictures.tree(present_names)
    images = TableImages(
        tree, [present_names[k] for k in unique_rows], y[unique_rows], format_found,
        [parts[present_rows[k]] for k in unique_rows], size=size, mode=mode, stream=stream,
    )  # fmt: skip
    skipped = [str(texts[k]) for k in missing_rows]
    if skips():
        readable, unreadable = split_by_readability(tree, images.names, images.image)
        skipped += unreadable
        note_skipped_names(table.name, skipped, len(names))
        images = TableImages(
            tree, [images.names[k] for k in readable], images.y[readable], format_found,
            [images.parts[k] for k in readable], size=size, mode=mode, stream=stream,
        )  # fmt: skip
    images.skipped = tuple(skipped)
    if format_found.kind != "numbers" and (variants := case_variants(format_found.names)):
        note_once(f"{table.name}: {variants}")
    note_once(f"{table.name}: {plural(len(images), 'picture')}, {format_found}{_statistics(images.y, format_found)}")
    if len(unique_rows) < len(present_rows):
        note_once(
            f"{table.name}: {plural(len(present_rows) - len(unique_rows), 'row')} left out that repeat another row"
        )
    return images


def _statistics(y: Tensor, format_found: TableFormat) -> str:
    """Return the mean number of labels of a picture, or the range of each number, for the note."""
    if format_found.kind == "labels":
        if not format_found.separator and bool((y.sum(1) == 1).all()):
            return ", exactly 1 label a picture (data.labels=one if this is always so)"
        return f", {float(y.sum(1).mean()):.2f} labels a picture"
    if format_found.kind == "numbers":
        ranges = zip(format_found.names, y.amin(0).tolist(), y.amax(0).tolist(), strict=True)
        return ", " + ", ".join(f"{name} from {low:g} to {high:g}" for name, low, high in [*ranges][:MAX_LISTED_NAMES])
    return ""


def _unique_rows(names: Sequence[str], y: Tensor, row_names: Sequence[str]) -> list[int]:
    """Return the indices of the first row of each file; raises PellucidError for a file with different targets."""
    first_row_by_name: dict[str, int] = {}
    for k, name in enumerate(names):
        first_row = first_row_by_name.setdefault(name, k)
        if not torch.equal(y[k], y[first_row]):
            raise PellucidError(
                f"{row_names[k]}: {name!r:.80} has other labels than in {row_names[first_row]}; keep one of the rows, "
                "or write all labels of a picture into one row"
            )
    return [*first_row_by_name.values()]


@dataclass(frozen=True)
class TableParts:
    """The training, validation and test images of a table; `validation` is None unless the table names such a part."""

    train: Subset
    validation: Subset | None
    test: Subset


def parts_of(images: TableImages, seed: int = 0) -> TableParts:
    """Return the parts that the table names; without parts, a fifth is drawn by `seed` as the test part.

    Raises PellucidError if the parts have none to train on, or a class never occurs in the training part.
    """
    part_use = parts_among({*images.parts})
    if part_use.train is None:
        raise PellucidError(
            f"{images.tree.path}: the parts {', '.join(sorted({*images.parts})):.100} have none to train on; call "
            "one train"
        )
    unused_parts = tuple(part for part in part_use.unused if not standard_part(part).startswith("val"))
    part_use._replace(unused=unused_parts).note_used_parts(images.tree.path)
    indices = {part: _indices_of_part(images, part) for part in {*images.parts}}
    validation = next((part for part in part_use.unused if standard_part(part).startswith("val")), None)
    train = indices[part_use.train]
    if part_use.held_out is None:
        remaining_positions, drawn_positions = images.draw(train, TEST_FRACTION, seed)
        train, test = train[remaining_positions], train[drawn_positions]
    else:
        test = indices[part_use.held_out]
    check_occurrence(str(images.tree.path), images.format_found, images.y[train], "training")
    held_out = None if validation is None else Subset(images, indices[validation])
    return TableParts(Subset(images, train), held_out, Subset(images, test))


def _indices_of_part(images: TableImages, part: str) -> Tensor:
    return torch.tensor([k for k, name in zip(count(), images.parts) if name == part])


def from_table(
    frame: Any,
    folder: str | os.PathLike[str] = ".",
    *,
    size: int | tuple[int, int] | None = None,
    mode: ColourMode = "RGB",
    seed: int = 0,
    requested: TableFormat | None = None,
) -> TableParts:
    """Return the training, validation and test images of a data frame of pandas or polars, or of a dict of columns.

    folder: that of the pictures. size, mode: as in `load_folder`. requested: how to read the columns, see
    `TableFormat`; by default, they are recognized, and the labels are classes. Raises PellucidError as `load_table`
    does.
    """
    table = table_of_frame(frame)
    empty_texts = [""] * len(table.cells)
    images = _images_of_rows(
        Pictures(Path(folder)), table, empty_texts, empty_texts, requested or TableFormat(), size, mode, stream=False
    )
    return parts_of(images, seed)
