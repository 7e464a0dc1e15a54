"""Merge the parts of the results for many pictures into one file: JSON lines, CSV or Parquet."""

import csv
import io
import json
import shutil
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from pellucid.base.errors import PellucidError
from pellucid.base.files import atomic_file

SUFFIXES = (".jsonl", ".csv", ".parquet")


def merge(result: Path, parts: Sequence[Path]) -> None:
    """Write the rows of all parts, in order, into a file whose suffix determines its format.

    At most one part is in memory. Raises PellucidError if the file cannot be written, or if pyarrow is missing for
    .parquet.
    """
    write = {".csv": _write_csv, ".parquet": _write_parquet}.get(result.suffix.lower(), _write_json_lines)
    with atomic_file(result) as file:
        write(file, parts)


def check_installed(result: Path) -> None:
    """Raise PellucidError if the result is a Parquet file and pyarrow is not installed."""
    if result.suffix.lower() == ".parquet":
        _import_pyarrow()


def _write_json_lines(file: BinaryIO, parts: Sequence[Path]) -> None:
    for part in parts:
        with part.open("rb") as lines:
            shutil.copyfileobj(lines, file)


def _write_csv(file: BinaryIO, parts: Sequence[Path]) -> None:
    columns = dict.fromkeys(name for part in parts for row in _read_rows(part) for name in row)
    text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="", write_through=True)
    writer = csv.DictWriter(text, [*columns], lineterminator="\n")
    writer.writeheader()
    for part in parts:
        writer.writerows(_read_rows(part))
    text.detach()


def _write_parquet(file: BinaryIO, parts: Sequence[Path]) -> None:
    arrow, parquet = _import_pyarrow()
    types_by_column: dict[str, set[type]] = {}
    for part in parts:
        for row in _read_rows(part):
            for name, value in row.items():
                types_by_column.setdefault(name, set()).add(type(value))
    column_types = {name: _column_type(value_types - {type(None)}) for name, value_types in types_by_column.items()}
    schema = arrow.schema([(name, arrow.type_for_alias(column_type)) for name, column_type in column_types.items()])
    with parquet.ParquetWriter(file, schema) as writer:
        for part in parts:
            rows = [
                {
                    name: _utf8_text(value) if column_types[name] == "string" and value is not None else value
                    for name, value in row.items()
                }
                for row in _read_rows(part)
            ]
            writer.write_table(arrow.Table.from_pylist(rows, schema))


def _utf8_text(value: Any) -> str:
    """Return a value as text that is valid UTF-8, with other bytes of file names escaped as `_write_csv` does."""
    return str(value).encode("utf-8", "backslashreplace").decode()


def _column_type(value_types: set[type]) -> str:
    """Return the type of a column whose values have these types."""
    if value_types <= {int, float} and value_types:
        return "float64" if float in value_types else "int64"
    return "bool" if value_types == {bool} else "string"


def _read_rows(part: Path) -> Iterator[dict[str, Any]]:
    with part.open("rb") as lines:
        yield from map(json.loads, lines)


def _import_pyarrow() -> tuple[Any, Any]:
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise PellucidError("a Parquet file needs pyarrow; pip install 'pellucid[parquet]', or give .jsonl") from error
