"""Tables of labels: the rows and columns of CSV, TSV, JSON lines and Parquet files, and of data frames."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import islice
from typing import Any

from pellucid.base.errors import PellucidError
from pellucid.base.files import decode_text
from pellucid.base.limits import MAX_TABLE_BYTES, MAX_TABLE_CELLS, MAX_TABLE_COLUMNS, MAX_TABLE_NAME, MAX_TABLE_ROWS
from pellucid.base.text import shown

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
DELIMITERS = (",", ";", "\t", "|")
N_SAMPLED_LINES = 50  # lines that decide the delimiter
SEPARATOR_LINE = "sep="  # the first line of some CSV files of Excel, which names the delimiter


@dataclass(frozen=True)
class LabelTable:
    """The rows of a table.

    cells: of each row, one for each column: a text without spaces around it, a number, a bool, a list, or None where
    the table has none. row_names: where each row stands, for messages, such as "labels.csv, line 3". delimiter: between
    the cells of a CSV file, "" for other tables.
    """

    name: str
    columns: tuple[str, ...]
    cells: list[list[Any]]
    row_names: list[str]
    delimiter: str = ""

    def column(self, name: str) -> list[Any]:
        """Return the cells of a column."""
        k = self.columns.index(name)
        return [row[k] for row in self.cells]


def read_table(data: bytes, name: str) -> LabelTable:
    """Return the table in the bytes of a file; its format is that of the suffix of `name`.

    Raises PellucidError, which names the file and the line, for what cannot be read, and for a table beyond the limits.
    """
    if len(data) > MAX_TABLE_BYTES:
        raise PellucidError(f"{name} has more than {MAX_TABLE_BYTES:,} bytes; divide the table")
    lower_name = name.lower()
    if lower_name.endswith(".parquet"):
        return _read_parquet(data, name)
    text = decode_text(data, name)
    return _read_json_lines(text, name) if lower_name.endswith(".jsonl") else _read_csv(text, name)


def table_of_frame(frame: Any) -> LabelTable:
    """Return the table of a data frame of pandas or polars, or of a mapping of columns; its rows count from 0."""
    names = [*frame] if isinstance(frame, Mapping) else [*getattr(frame, "columns", ())]
    if not names:
        raise PellucidError(f"{shown(frame)} is no data frame; give one with columns, or a dict of lists")
    columns = [[_python_value(value) for value in frame[name]] for name in names]
    return _from_columns("data frame", [*map(str, names)], columns, "row")


def _python_value(value: Any) -> Any:
    """Return a value of NumPy, Arrow or pandas as one of Python; NaN and NaT, with which frames mark gaps, as None."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    is_gap = not isinstance(value, list | tuple | str) and value != value  # noqa: PLR0124  NaN differs from itself
    return None if is_gap or type(value).__name__ in ("NAType", "NaTType") else value


def _from_columns(name: str, names: Sequence[str], columns: Sequence[Sequence[Any]], row_noun: str) -> LabelTable:
    counts = {len(column) for column in columns}
    if len(counts) > 1:
        raise PellucidError(f"{name}: its columns have different lengths ({sorted(counts)}); give one value a row")
    row_names = [f"{name}, {row_noun} {k}" for k in range(max(counts, default=0))]
    rows = zip(row_names, zip(*columns, strict=True), strict=True)
    cells = [[_checked_cell(value, where) for value in row] for where, row in rows]
    return _checked_table(name, names, cells, row_names)


def _checked_cell(value: Any, where: str) -> Any:
    if isinstance(value, str):
        return value.strip()
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple) and all(isinstance(item, str | int) for item in value):
        return [str(item).strip() for item in value]
    raise PellucidError(f"{where}: {shown(value)} is no text, number or list of labels; change the cell")


def _checked_table(name: str, columns: Sequence[str], cells: list[list[Any]], row_names: list[str]) -> LabelTable:
    """Return a table without columns that have neither a name nor a cell; raises PellucidError for other faults."""
    used_columns = [k for k, column in enumerate(columns) if column or any(row[k] not in ("", None) for row in cells)]
    names = tuple(columns[k] for k in used_columns)
    if not names or not cells:
        raise PellucidError(f"{name} has no rows below its header; give a column of file names and one of labels")
    longest = max(names, key=len)
    if len(longest) > MAX_TABLE_NAME:
        raise PellucidError(f"{name} has a column of {len(longest):,} characters, {longest!r:.40}; add a header")
    repeated = next((column for k, column in enumerate(names) if column in names[:k]), None)
    if repeated is not None:
        raise PellucidError(f"{name} has two columns {repeated!r:.60}; rename one of them in its header")
    if len(names) > MAX_TABLE_COLUMNS or len(cells) > MAX_TABLE_ROWS or len(names) * len(cells) > MAX_TABLE_CELLS:
        raise PellucidError(
            f"{name} has {len(cells):,} rows and {len(names):,} columns, above the limits of {MAX_TABLE_ROWS:,} and "
            f"{MAX_TABLE_COLUMNS:,}, and of {MAX_TABLE_CELLS:,} cells; divide the table"
        )
    return LabelTable(name, names, [[row[k] for k in used_columns] for row in cells], row_names)


def _read_csv(text: str, name: str) -> LabelTable:
    first_line, _, text_below = text.partition("\n")
    declared_delimiter = first_line.strip().removeprefix(SEPARATOR_LINE)
    n_skipped_lines = 0
    if first_line.startswith(SEPARATOR_LINE) and declared_delimiter in DELIMITERS:
        text, delimiter, n_skipped_lines = text_below, declared_delimiter, 1
    else:
        delimiter = "\t" if name.lower().endswith(".tsv") else _delimiter_of(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    rows: list[list[Any]] = []
    row_names: list[str] = []
    header: list[str] = []
    try:
        for line in reader:
            where = f"{name}, line {reader.line_num + n_skipped_lines}"
            cells = [cell.strip() for cell in line]
            if not any(cells):
                continue
            if not header:
                header = cells
                _check_column_count(len(header), name)
                continue
            while len(cells) > len(header) and not cells[-1]:
                cells.pop()  # a delimiter at the end of a line
            if len(cells) != len(header):
                raise PellucidError(
                    f"{where} has {len(cells)} cells, but the header has {len(header)}; quote a cell that contains "
                    f"{delimiter!r}, or complete the row"
                )
            rows.append(cells)
            row_names.append(where)
            _check_row_count(len(rows), name)
    except csv.Error as error:
        where = f"{name}, line {reader.line_num + n_skipped_lines}"
        raise PellucidError(f"{where} cannot be read ({error}); check its quotes") from error
    return replace(_checked_table(name, header, rows, row_names), delimiter=delimiter)


def _check_column_count(count: int, name: str) -> None:
    if count > MAX_TABLE_COLUMNS:
        raise PellucidError(f"{name} has {count:,} columns, above the limit of {MAX_TABLE_COLUMNS:,}; divide the table")


def _check_row_count(count: int, name: str) -> None:
    if count > MAX_TABLE_ROWS:
        raise PellucidError(f"{name} has more than {MAX_TABLE_ROWS:,} rows; divide the table")


def _delimiter_of(text: str) -> str:
    """Return the delimiter with which the first rows have equally many cells, and as many as possible."""
    lines = [*islice(io.StringIO(text, newline=""), N_SAMPLED_LINES)]

    def consistency_and_width(delimiter: str) -> tuple[bool, int]:
        try:
            rows = [row for row in csv.reader(lines, delimiter=delimiter, skipinitialspace=True) if any(row)]
        except csv.Error:
            return False, 0
        widths = [len(row) for row in rows]
        return len({*widths}) == 1, widths[0] if widths else 0

    scores = {delimiter: consistency_and_width(delimiter) for delimiter in DELIMITERS}
    width_by_delimiter = {
        delimiter: width for delimiter, (are_equal, width) in scores.items() if are_equal and width > 1
    }
    return max(width_by_delimiter or scores, key=lambda delimiter: scores[delimiter][1])


def _read_json_lines(text: str, name: str) -> LabelTable:
    objects: list[Mapping[str, Any]] = []
    row_names: list[str] = []
    columns: dict[str, None] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        where = f"{name}, line {number}"
        try:
            value = json.loads(line, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise PellucidError(f"{where} is no JSON object ({error!s:.80}); write one in each line") from error
        if not isinstance(value, dict):
            raise PellucidError(f"{where} is no JSON object; write one in each line")
        objects.append({str(key): _checked_cell(cell, where) for key, cell in value.items()})
        row_names.append(where)
        columns |= dict.fromkeys(value)
        _check_column_count(len(columns), name)
        _check_row_count(len(objects), name)
    if len(columns) * len(objects) > MAX_TABLE_CELLS:
        raise PellucidError(f"{name} has more than {MAX_TABLE_CELLS:,} cells; divide the table")
    return _checked_table(name, [*columns], [[row.get(column) for column in columns] for row in objects], row_names)


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _read_parquet(data: bytes, name: str) -> LabelTable:
    try:
        pyarrow: Any = import_module("pyarrow")
        parquet: Any = import_module("pyarrow.parquet")
    except ImportError as error:
        raise PellucidError(f"{name} needs pyarrow; pip install 'pellucid[parquet]', or save it as CSV") from error
    try:
        file = parquet.ParquetFile(pyarrow.BufferReader(data))
        metadata = file.metadata
        n_bytes = sum(metadata.row_group(k).total_byte_size for k in range(metadata.num_row_groups))
        _check_column_count(metadata.num_columns, name)
        _check_row_count(metadata.num_rows, name)
        if n_bytes > MAX_TABLE_BYTES or metadata.num_columns * metadata.num_rows > MAX_TABLE_CELLS:
            raise PellucidError(f"{name} would take {n_bytes:,} bytes; divide the table")
        table = file.read()
        columns = [[_python_value(value) for value in column.to_pylist()] for column in table.columns]
        names = [*map(str, table.column_names)]
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        if isinstance(error, PellucidError):
            raise
        reason = " ".join(str(error).split())
        raise PellucidError(f"{name} is no Parquet file that can be read ({reason:.100}); write it again") from error
    return _from_columns(name, names, columns, "row")
