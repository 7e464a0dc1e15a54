"""DeepLabCut's CollectedData_SCORER.csv: one table for the frames of a video, with x and y of each body part.

The header has the rows scorer, bodyparts and coords, or for several animals scorer, individuals, bodyparts and coords.
The first column, or the first three, contain the path of an image, such as labeled-data/VIDEO/img0001.png; an image
that is not below this path is read from the folder of the table. An empty cell is a point that is not labelled. The
box of an animal is derived from its points. Source: github.com/DeepLabCut/DeepLabCut.
"""

import csv
import io
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from pellucid.base.errors import PellucidError
from pellucid.base.files import decode_text
from pellucid.base.limits import MAX_KEYPOINTS, MAX_OBJECTS
from pellucid.data.annotations.base import (
    Annotations,
    DamageError,
    Faults,
    ImageRecord,
    Instance,
    MissingImageError,
    join_names,
)
from pellucid.data.annotations.format import AnnotationFormat
from pellucid.data.annotations.images import ImageIndex, group_by_part, part_of
from pellucid.data.annotations.point_boxes import POINTS_CLASS, box_around
from pellucid.data.table_cells import is_gap, number_of
from pellucid.data.tree import Tree

LABELS_FOLDER = "labeled-data"  # its folders are named after videos
COPIES_FOLDER = "training-datasets"  # of a project, with a copy of all tables
Point = tuple[float, float]  # x, y
SINGLE_ANIMAL = ("scorer", "bodyparts", "coords")
SEVERAL_ANIMALS = ("scorer", "individuals", "bodyparts", "coords")
UNIQUE_PARTS = "single"  # the individual of points that belong to no animal, such as the corners of a box
PATH_COLUMN_COUNTS = (1, 3)  # the path of an image in one cell, or its folder, video and file
MAX_EXCESS = 0.1  # fraction of the image's size by which a point may lie outside


class PartColumns(NamedTuple):
    """Two neighbouring columns: x and y of a body part of an individual, "" for a single animal."""

    individual: str
    part: str


class FrameRow(NamedTuple):
    """The line of a row in its file, the path of its image, and the cells of the points."""

    line: int
    image: str
    cells: list[str]


class FrameTable(NamedTuple):
    """A table of the tree: its name, its pairs of columns and its rows."""

    name: str
    columns: tuple[PartColumns, ...]
    rows: list[FrameRow]


def find_parts(tree: Tree) -> dict[str, tuple[str, ...]]:
    """Return the tables of a tree by part; the names of videos mean no part."""
    names = [name for name in tree.names if is_table(name)]
    originals = [name for name in names if COPIES_FOLDER not in name.split("/")]
    return group_by_part(originals or names, _part_of_table)


def is_table(name: str) -> bool:
    """Return whether a file has the name of a table of DeepLabCut."""
    file = PurePosixPath(name).name
    return file.startswith("CollectedData") and file.endswith(".csv")


def read(tree: Tree, files: Sequence[str], classes: Sequence[str] | None = None) -> Annotations:
    """Return the annotations in tables, whose objects have the class POINTS_CLASS.

    classes: the allowed class names, indexed by label.
    """
    if classes is not None and POINTS_CLASS not in classes:
        raise PellucidError(
            f"{tree.where(files[0])}: the objects have the class {POINTS_CLASS!r}, which is not among "
            f"{join_names(classes)}; give annotations with these classes"
        )
    return _DeepLabCutReader(tree, tuple(classes or (POINTS_CLASS,))).annotations(files)


class _DeepLabCutReader:
    """Reader of the tables of one part."""

    def __init__(self, tree: Tree, classes: tuple[str, ...]) -> None:
        self.tree = tree
        self.classes = classes
        self.faults = Faults()
        self.images = ImageIndex(tree)
        self.image_names = {*self.images.images}
        self.index_by_part: dict[str, int] = {}  # of the body parts by name
        self.records: dict[str, ImageRecord] = {}  # by image

    def annotations(self, files: Sequence[str]) -> Annotations:
        """Return the annotations of all tables."""
        tables = [table for name in files if (table := self._read_table(name)) is not None]
        self._check_one_project(tables)
        if len(self.index_by_part) > MAX_KEYPOINTS:
            raise PellucidError(
                f"{self.tree.path} names {len(self.index_by_part)} body parts, above the limit of {MAX_KEYPOINTS}; "
                "split it"
            )
        for table in tables:
            for row in table.rows:
                try:
                    self._read_row(table, row)
                except PellucidError as error:
                    is_image = isinstance(error, MissingImageError)
                    self.faults.add(self.tree.where(table.name), row.line, str(error), "refused", is_image=is_image)
        records = tuple(self.records.values())
        return Annotations(self.classes, records, self.faults.entries, tuple(self.index_by_part))

    def _check_one_project(self, tables: Sequence[FrameTable]) -> None:
        """Raise PellucidError for two tables without a common body part, which are of different projects."""
        parts_by_table = [{column.part for column in table.columns} for table in tables]
        for table, other_parts in zip(tables[1:], parts_by_table[1:], strict=True):
            if parts_by_table[0].isdisjoint(other_parts):
                raise PellucidError(
                    f"{self.tree.where(tables[0].name)} and {self.tree.where(table.name)} have no body part in common; "
                    "give the folder of one project"
                )

    def _read_table(self, name: str) -> FrameTable | None:
        """Return a table and enter its body parts, None if it is refused."""
        where = self.tree.where(name)
        try:
            table = parse_table(name, decode_text(self.tree.document(name), where))
        except PellucidError as error:
            self.faults.refuse(where, None, error)
            return None
        if unique_parts := [column.part for column in table.columns if column.individual == UNIQUE_PARTS]:
            reason = f"{UNIQUE_PARTS!r} is no animal, so its points are left out: {join_names(unique_parts)}"
            self.faults.add(where, None, reason, "dropped")
        for column in table.columns:
            if column.individual != UNIQUE_PARTS:
                self.index_by_part.setdefault(column.part, len(self.index_by_part))
        return table

    def _read_row(self, table: FrameTable, row: FrameRow) -> None:
        image = self._find_image(row.image, table.name)
        if image in self.records:
            raise DamageError(f"{image!r:.200} is annotated twice; keep one of its rows")
        size = self.images.size(image)
        animals: dict[str, dict[str, Point]] = {}  # points by individual and body part
        for column, x, y in zip(table.columns, row.cells[::2], row.cells[1::2], strict=True):
            point = _point(column, x, y, size)
            if point is not None and column.individual != UNIQUE_PARTS:
                animals.setdefault(column.individual, {})[column.part] = point
        if len(animals) > MAX_OBJECTS:
            raise DamageError(f"{image} has more than {MAX_OBJECTS} animals")
        instances = tuple(self._instance(points, size, row.line) for points in animals.values())
        self.records[image] = ImageRecord(
            image, size, instances, self.tree.where(table.name), image_id=len(self.records) + 1
        )

    def _find_image(self, path: str, table: str) -> str:
        """Return the image in the tree whose path ends with `path`, or else the one beside its table."""
        try:
            return self.images.find_by_name(path, table)
        except MissingImageError:
            path_beside = str(PurePosixPath(table).parent / PurePosixPath(path.replace("\\", "/")).name)
            if path_beside not in self.image_names:
                raise
            return path_beside

    def _instance(self, points: dict[str, Point], size: tuple[int, int], line: int) -> Instance:
        """Return an animal with its labelled points by body part."""
        values = [0.0] * (3 * len(self.index_by_part))
        for part, (x, y) in points.items():
            offset = 3 * self.index_by_part[part]
            values[offset : offset + 3] = [x, y, 2.0]
        box = box_around([*points.values()], size)
        return Instance(box, self.classes.index(POINTS_CLASS), points=tuple(values), line=line)


def parse_table(name: str, text: str) -> FrameTable:
    """Return the table in a text; raise DamageError for another header, or a row with another number of cells."""
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        lines = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise DamageError(f"table cannot be read ({error})", reader.line_num) from error
    n_header_rows = 4 if [row[0] for _, row in lines[:2]] == [*SEVERAL_ANIMALS[:2]] else 3
    header = [row for _, row in lines[:n_header_rows]]
    row_names = tuple(row[0] for row in header)
    if row_names not in (SINGLE_ANIMAL, SEVERAL_ANIMALS):
        raise DamageError(
            f"header has the rows {join_names(map(repr, row_names))}; give {', '.join(SINGLE_ANIMAL)}, or for several "
            f"animals {', '.join(SEVERAL_ANIMALS)}"
        )
    for line, row in lines:
        if len(row) != len(header[0]):
            raise DamageError(f"row has {len(row)} cells, the first row {len(header[0])}", line)
    n_path_columns = next((k for k, cell in enumerate(header[-1]) if k and cell), 0)
    axes = header[-1][n_path_columns:]
    if n_path_columns not in PATH_COLUMN_COUNTS or axes != ["x", "y"] * (len(axes) // 2):
        raise DamageError("row coords is not x, y, x, y, ... after one or three columns for the path of the image")
    if not lines[n_header_rows:]:
        raise DamageError("table has no row of an image; add some")
    rows = [FrameRow(line, "/".join(row[:n_path_columns]), row[n_path_columns:]) for line, row in lines[n_header_rows:]]
    return FrameTable(name, _parse_columns(header, n_path_columns), rows)


def _parse_columns(header: Sequence[Sequence[str]], n_path_columns: int) -> tuple[PartColumns, ...]:
    """Return the pairs of columns of a header; raise DamageError unless each is named once, for x and y."""
    parts = header[-2]
    individuals = header[1] if len(header) == len(SEVERAL_ANIMALS) else [""] * len(parts)
    columns: dict[PartColumns, None] = {}
    for k in range(n_path_columns, len(parts), 2):
        column = PartColumns(individuals[k], parts[k])
        if column != PartColumns(individuals[k + 1], parts[k + 1]) or not column.part or column in columns:
            raise DamageError(f"header needs each body part once, for x and y, unlike {column.part!r:.60}")
        columns[column] = None
    return tuple(columns)


def _point(column: PartColumns, x: str, y: str, size: tuple[int, int]) -> Point | None:
    """Return x and y, None for empty cells; raise DamageError for other cells and a point far outside its image."""
    if is_gap(x) and is_gap(y):
        return None
    left, top = number_of(x), number_of(y)
    if left is None or top is None:
        raise DamageError(
            f"{column.part!r:.60} is at {x!r:.40}, {y!r:.40}; give two numbers, or leave both cells empty"
        )
    for value, side in ((left, size[1]), (top, size[0])):
        if not -MAX_EXCESS * side <= value <= (1 + MAX_EXCESS) * side:
            raise DamageError(
                f"{column.part!r:.60} is at {x:.40}, {y:.40}, outside the image of {size[1]}x{size[0]}; annotate this "
                "image"
            )
    return left, top


def _part_of_table(name: str) -> str:
    """Return the part that the folders above LABELS_FOLDER, or above the table, mean."""
    folders = name.split("/")[:-1]
    if LABELS_FOLDER in folders:
        folders = folders[: folders.index(LABELS_FOLDER)]
    return part_of("/".join(folders))


FORMAT = AnnotationFormat("deeplabcut", find_parts, read)
