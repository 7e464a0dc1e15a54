"""What the columns of a table of labels mean: file names, parts, and one class, several labels or numbers."""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.limits import MAX_CLASSES, MAX_TABLE_CELLS
from pellucid.base.settings.checks import check_known
from pellucid.base.text import plural, shown
from pellucid.data.parts import TRAIN, standard_part
from pellucid.data.table_cells import (
    check_groups,
    empty_error,
    flag_of,
    is_gap,
    is_written_list,
    labels_in,
    name_and_unit,
    number_of,
    unseparated_labels,
)
from pellucid.data.tables import LabelTable

TargetKind = Literal["class", "labels", "numbers"]
FILE_NAMES = (
    "file", "fname", "filename", "filenames", "image", "images", "imagename", "imagefile", "imagepath", "imageid",
    "img", "imgname", "imgpath", "path", "filepath", "picture", "photo", "name", "id",
)  # fmt: skip
VALIDATION_FLAG = "isvalid"  # the plain name of fastai's column of 0 and 1
SPLIT_NAMES = ("split", "part", "subset", "set", "partition", "usage")
LABEL_NAMES = ("label", "class", "category", "target", "species")
LIST_NAMES = ("labels", "classes", "tags", "categories", "targets", "attributes")
SEPARATORS = (",", ";", "|")
N_SAMPLED_ROWS = 20  # rows that show which column has the file names
MAX_LISTED_NAMES = 3  # names in a message


@dataclass(frozen=True)
class TableFormat:
    """How a table of labels is read; what is empty is recognized.

    kind: what the labels are. files: the column of file names. columns: those of the labels. split: that of the parts.
    separator: between the labels in a cell. units: of the numbers. names: of the classes or the numbers, in the order
    of a model that exists; the classes of other data must be among them.
    """

    kind: TargetKind | None = None
    files: str = ""
    columns: tuple[str, ...] = ()
    split: str = ""
    separator: str = ""
    units: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the columns and their meaning in a few words."""
        split_text = f", parts in {self.split!r:.40}" if self.split else ""
        columns_text = ", ".join(map(repr, self.columns[:MAX_LISTED_NAMES])) + (
            ", ..." if len(self.columns) > MAX_LISTED_NAMES else ""
        )
        if self.kind == "numbers":
            texts = [f"{name} in {unit}" if unit else name for name, unit in zip(self.names, self.units, strict=True)]
            targets_text = f"numbers: {', '.join(texts):.200}"
        elif self.kind == "labels":
            notation = f"a list separated by {self.separator!r}" if self.separator else "columns of 0 and 1"
            targets_text = f"several of {plural(len(self.names), 'class', 'classes')} a picture ({notation})"
        else:
            targets_text = f"one of {plural(len(self.names), 'class', 'classes')} a picture"
        return f"files in {self.files!r:.40}, {targets_text} in {columns_text}{split_text}"


def recognize(table: LabelTable, is_picture: Callable[[str], bool], requested: TableFormat) -> TableFormat:
    """Return the format of a table, without the names of its classes, see `TableFormat`.

    is_picture: whether a text is the name of an existing picture. Raises PellucidError, which names the setting that
    decides, if the columns can be understood in several ways or in none.
    """
    for key, names in (("files", [requested.files]), ("columns", requested.columns), ("split", [requested.split])):
        for name in filter(None, names):
            check_known(f"{table.name}: data.{key}: no column", name, table.columns)
    files = requested.files or file_column(table, is_picture)
    split = requested.split or _split_column(table, files)
    further_columns = [name for name in table.columns if name not in (files, split) and not _is_index(table, name)]
    candidates = [*requested.columns] or further_columns
    if not candidates:
        raise PellucidError(f"{table.name} has no column besides the file names {files!r:.40}; add one with the labels")
    table_format = replace(requested, files=files, split=split)
    if requested.kind == "numbers":
        return _recognize_numbers(table, candidates, table_format)
    return _recognize_classes(table, candidates, table_format)


def _plain_name(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


def file_column(table: LabelTable, is_picture: Callable[[str], bool]) -> str:
    """Return the column of file names; is_picture: whether a text is the name of an existing picture.

    Raises PellucidError for a table without such a column, and for one without a header.
    """
    if any(is_picture(name) for name in table.columns if "." in name):
        raise PellucidError(
            f"{table.name} has no header, its first line names a picture; add a line such as file,label"
        )
    usual_columns = [name for name in table.columns if _plain_name(name) in FILE_NAMES]
    row_step = max(1, len(table.cells) // N_SAMPLED_ROWS)
    for name in dict.fromkeys((*usual_columns, *table.columns)):
        sample = [str(cell) for cell in table.column(name)[::row_step] if isinstance(cell, str | int)]
        if name not in usual_columns:  # a number such as 7 may be the beginning of 7.png by chance
            sample = [cell for cell in sample if "." in cell]
        if any(map(is_picture, sample)):
            return name
    if not usual_columns:
        columns_text = ", ".join(map(repr, table.columns[:8]))
        raise PellucidError(
            f"{table.name}: no column has the names of pictures (columns: {columns_text:.200}); put the pictures "
            "beside the table or into images/, or name the column with data.files=COLUMN"
        )
    return usual_columns[0]


def _split_column(table: LabelTable, files: str) -> str:
    for name in table.columns:
        if name != files and _plain_name(name) == VALIDATION_FLAG and None not in map(flag_of, table.column(name)):
            return name
        if name != files and _plain_name(name) in SPLIT_NAMES:
            cells = [str(cell or "") for cell in table.column(name)]
            unknown_row = next((k for k, cell in enumerate(cells) if not standard_part(cell)), None)
            if unknown_row is None:
                return name
            if _plain_name(name) == SPLIT_NAMES[0]:
                raise PellucidError(
                    f"{table.row_names[unknown_row]}: {name} is {shown(cells[unknown_row])}; give train, val or test"
                )
    return ""


def part_of_cell(cell: Any, column: str) -> str:
    """Return the part that a cell of the column of parts names; in fastai's column is_valid, true means "valid"."""
    if _plain_name(column) == VALIDATION_FLAG:
        return "valid" if flag_of(cell) else TRAIN
    return standard_part(str(cell))


def _is_index(table: LabelTable, name: str) -> bool:
    """Return whether a column only numbers the rows, as the first column does that pandas writes."""
    cells = [str(cell) for cell in table.column(name)]
    if re.fullmatch(r"(.*[_ ])?id", name.lower()):
        return len({*cells}) == len(cells) and all(cell.isascii() and cell.isdecimal() for cell in cells)
    if not re.fullmatch(r"(unnamed.*|index|no|row)?", name.lower()):
        return False
    return any(cells == [str(k + first) for k in range(len(cells))] for first in (0, 1))


def _recognize_numbers(table: LabelTable, candidates: Sequence[str], table_format: TableFormat) -> TableFormat:
    are_requested = bool(table_format.columns)
    columns: list[str] = []
    for name in candidates:
        cells = table.column(name)
        n_numbers = sum(number_of(cell) is not None for cell in cells)
        # A column with a few numbers among texts holds remarks; one with a few gaps among numbers is a fault.
        if are_requested or 2 * n_numbers > len(cells):
            columns.append(name)
    if not columns:
        examples = [f"{name!r:.40} with {shown(table.column(name)[0])}" for name in candidates[:MAX_LISTED_NAMES]]
        raise PellucidError(
            f"{table.name}: no column has numbers ({', '.join(examples)}); write numbers without their units, name a "
            "column with data.columns, or train a classifier: `pellucid train classify`"
        )
    names_and_units = [name_and_unit(name) for name in columns]
    if table_format.units and len(table_format.units) != len(columns):
        raise PellucidError(
            f"data.units has {plural(len(table_format.units), 'unit')} for {plural(len(columns), 'column')} "
            f"({', '.join(columns):.100}); give one for each, '' for none"
        )
    names = table_format.names or tuple(name for name, _ in names_and_units)
    units = table_format.units or tuple(unit for _, unit in names_and_units)
    return replace(table_format, columns=tuple(columns), names=names, units=units)


def _recognize_classes(table: LabelTable, candidates: Sequence[str], table_format: TableFormat) -> TableFormat:
    flag_counts = {name: sum(flag_of(cell) is not None for cell in table.column(name)) for name in candidates}
    flag_columns = [name for name in candidates if 2 * flag_counts[name] > len(table.cells)]
    if table_format.kind != "class" and not table_format.separator and len(flag_columns) > 1:
        if not table_format.columns and {*_label_columns(candidates)} - {*flag_columns}:
            raise _several_columns_error(table, candidates)
        return replace(table_format, kind="labels", columns=tuple(table_format.columns or flag_columns))
    if table_format.kind == "class" and len(flag_columns) > 1 and not _label_columns(candidates):
        return replace(table_format, columns=tuple(table_format.columns or flag_columns), separator="")
    column = _label_column(table, candidates)
    if table_format.kind == "class":
        return replace(table_format, columns=(column,), separator="")
    are_lists = table_format.kind == "labels"
    separator = table_format.separator or _separator_of(table, column, are_lists)
    if are_lists and not separator:
        separator = SEPARATORS[0]  # each cell is a list of one label
    return replace(table_format, kind="labels" if separator else "class", columns=(column,), separator=separator)


def _label_column(table: LabelTable, candidates: Sequence[str]) -> str:
    if len(candidates) == 1:
        return candidates[0]
    label_columns = _label_columns(candidates)
    if len(label_columns) == 1:
        return label_columns[0]
    raise _several_columns_error(table, candidates)


def _label_columns(candidates: Sequence[str]) -> list[str]:
    return [name for name in candidates if _plain_name(name) in (*LABEL_NAMES, *LIST_NAMES)]


def _several_columns_error(table: LabelTable, candidates: Sequence[str]) -> PellucidError:
    return PellucidError(
        f"{table.name}: several columns may have the labels ({', '.join(map(repr, candidates)):.200}); choose with "
        'data.columns=["COLUMN"], or train on numbers: `pellucid train regress`'
    )


def _separator_of(table: LabelTable, column: str, are_lists: bool) -> str:
    """Return the separator of the labels in the cells of a column, "" if each cell is one label.

    Names of classes such as "ankle boot" and "dog, small" contain separators, so that each label of a list must also be
    a cell of its own, unless the user says that the cells are lists, or the column's name is a plural such as tags.
    Raises PellucidError for other cells with a separator; those with a space are one label.
    """
    cells = table.column(column)
    if any(isinstance(cell, list) or (is_written_list(cell) and SEPARATORS[0] in cell) for cell in cells):
        return SEPARATORS[0]
    texts = ["" if is_gap(cell) else str(cell) for cell in cells]
    are_lists = are_lists or _plain_name(column) in LIST_NAMES
    counts = {separator: sum(separator in text for text in texts) for separator in (*SEPARATORS, " ")}
    present_separators = sorted(filter(counts.get, SEPARATORS), key=lambda separator: -counts[separator])
    space_separators = [" "] if counts[" "] else []
    for separator in present_separators or space_separators:
        if are_lists or not unseparated_labels(texts, separator):
            return separator
    if not present_separators:
        return ""
    row = next(k for k, text in enumerate(texts) if present_separators[0] in text)
    raise PellucidError(
        f"{table.row_names[row]}: {column!r:.40} is {shown(texts[row])}, which may be one label or several; set "
        f"data.labels=one, or data.labels=several data.separator='{present_separators[0]}'"
    )


def targets_of(table: LabelTable, table_format: TableFormat) -> tuple[Tensor, TableFormat]:
    """Return the targets of the rows, and the format with the names of the classes.

    One class: (N,) int64. Several labels: (N, K) of 0 and 1; numbers: (N, D), float32. Raises PellucidError, which
    names the file and the row, for an empty or another cell, and for a class that a model lacks.
    """
    if table_format.kind == "numbers":
        return _number_targets(table, table_format), table_format
    if table_format.kind == "labels":
        return (
            _flag_targets(table, table_format) if len(table_format.columns) > 1 else _list_targets(table, table_format)
        )
    column, *further_columns = table_format.columns
    if further_columns:
        return _class_of_flags(table, table_format)
    labels = [
        _text_label(cell, where, column) for cell, where in zip(table.column(column), table.row_names, strict=True)
    ]
    names = _class_names(table, [[label] for label in labels], table_format)
    if len(names) == len(labels) > 2:
        raise PellucidError(
            f"{table.name}: each of the {len(labels):,} rows has another class in {column!r:.40}; choose the labels "
            'with data.columns=["COLUMN"], or train on numbers: `pellucid train regress`'
        )
    index_by_name = {name: k for k, name in enumerate(names)}
    return torch.tensor([index_by_name[label] for label in labels]), replace(table_format, names=names)


def _text_label(cell: Any, where: str, column: str) -> str:
    if is_gap(cell):
        raise empty_error(where, column, cell, "write the label")
    if isinstance(cell, list):
        raise PellucidError(f"{where}: {column!r:.40} is a list; set data.labels=several for several labels a picture")
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def _class_names(table: LabelTable, labels: Sequence[Sequence[str]], table_format: TableFormat) -> tuple[str, ...]:
    """Return the sorted classes, or those of the model; raises PellucidError for others, too many, or a single one."""
    first_row_names: dict[str, str] = {}
    for row_labels, where in zip(labels, table.row_names, strict=True):
        for label in row_labels:
            first_row_names.setdefault(label, where)
    unknown = next((label for label in first_row_names if table_format.names and label not in table_format.names), None)
    if unknown is not None:
        known = ", ".join(table_format.names)
        raise PellucidError(f"{first_row_names[unknown]}: the model has no class {unknown!r:.60}; it has {known:.80}")
    names = table_format.names or tuple(sorted(first_row_names, key=_natural_order))
    if len(names) < 2:
        raise PellucidError(f"{table.name}: all rows have the label {''.join(names)!r:.60}; give at least two classes")
    if len(names) > MAX_CLASSES or (len(names) * len(labels) > MAX_TABLE_CELLS and table_format.kind == "labels"):
        raise PellucidError(f"{table.name} has {len(names):,} classes for {len(labels):,} rows; give fewer classes")
    return names


def _natural_order(name: str) -> tuple[float, str]:
    """Return a key that sorts numbers by value, before other names."""
    number = number_of(name)
    return math.inf if number is None else number, name


def _list_targets(table: LabelTable, table_format: TableFormat) -> tuple[Tensor, TableFormat]:
    column, labels = table_format.columns[0], list[list[str]]()
    for cell, where in zip(table.column(column), table.row_names, strict=True):
        if is_gap(cell):
            raise empty_error(where, column, cell, "write [] for a picture without labels")
        labels.append(labels_in(cell, table_format.separator))
    names = _class_names(table, labels, table_format)
    index_by_name = {name: k for k, name in enumerate(names)}
    targets = torch.zeros(len(labels), len(names))
    for row, row_labels in zip(targets, labels, strict=True):
        row[[index_by_name[label] for label in row_labels]] = 1
    return targets, replace(table_format, names=names)


def _flag_targets(table: LabelTable, table_format: TableFormat) -> tuple[Tensor, TableFormat]:
    columns = table_format.names or table_format.columns
    for name in columns:
        check_known(f"{table.name}: no column for the class", name, table.columns)
    targets = torch.zeros(len(table.cells), len(columns))
    for k, name in enumerate(columns):
        fault = (
            " in a column of 0 and 1; correct the cell, or choose the columns of the classes with "
            'data.columns=["a", "b"]'
        )
        targets[:, k] = _column_values(table, name, flag_of, "write 0 or 1", fault)
    return targets, replace(table_format, names=tuple(columns))


def _class_of_flags(table: LabelTable, table_format: TableFormat) -> tuple[Tensor, TableFormat]:
    """Return the class of each row, of whose columns of 0 and 1 exactly one has a 1."""
    flag_targets, table_format = _flag_targets(table, table_format)
    counts = flag_targets.sum(1)
    wrong_rows = (counts != 1).nonzero()[:, 0].tolist()
    if wrong_rows:
        raise PellucidError(
            f"{table.row_names[wrong_rows[0]]}: {int(counts[wrong_rows[0]])} of the classes have a 1, but "
            "data.labels=one needs exactly one; correct the row, or leave out data.labels"
        )
    return flag_targets.argmax(1), table_format


def _number_targets(table: LabelTable, table_format: TableFormat) -> Tensor:
    targets = torch.zeros(len(table.cells), len(table_format.columns))
    for k, name in enumerate(table_format.columns):
        check_groups(table, name)
        fault = (
            ', no finite number; write a number without its unit, or choose the columns with data.columns=["COLUMN"]'
        )
        targets[:, k] = _column_values(table, name, number_of, "write the number", fault)
    return targets


def _column_values(
    table: LabelTable, name: str, value_of: Callable[[Any], float | None], gap_advice: str, fault: str
) -> Tensor:
    """Return the values (N,) of a column; raise PellucidError for a gap, and for a cell of which `value_of` is None."""
    values = torch.zeros(len(table.cells))
    for i, cell in enumerate(table.column(name)):
        if is_gap(cell):
            raise empty_error(table.row_names[i], name, cell, gap_advice)
        value = value_of(cell)
        if value is None:
            raise PellucidError(f"{table.row_names[i]}: {name!r:.40} is {shown(cell)}{fault}")
        values[i] = value
    return values


def check_occurrence(data_name: str, table_format: TableFormat, y: Tensor, part: str) -> None:
    """Raise PellucidError for a class that never occurs among targets y; numbers are not checked.

    part: of the data, in the message.
    """
    if table_format.kind == "numbers":
        return
    if table_format.kind == "labels":
        counts = dict(zip(table_format.names, y.sum(0).long().tolist(), strict=True))
    else:
        occurrences = Counter(y.tolist())
        counts = {name: occurrences[k] for k, name in enumerate(table_format.names)}
    absent = [name for name, count in counts.items() if not count]
    if absent:
        raise PellucidError(
            f"{data_name}: {', '.join(map(repr, absent[:MAX_LISTED_NAMES]))} never occurs in the {part} part "
            f"({plural(len(absent), 'class', 'classes')}); add pictures, or leave the class out of data.columns and of "
            "the rows"
        )
