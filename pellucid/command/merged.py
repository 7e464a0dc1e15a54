"""One file of the results of many pictures, from its parts: JSON lines, CSV or Parquet."""

import csv
import io
import json
import shutil
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from pellucid.errors import PellucidError
from pellucid.files import atomic_file

SUFFIXES = (".jsonl", ".csv", ".parquet")


def merge(result: Path, parts: Sequence[Path]) -> None:
    """Write the rows of all parts, in order, into a file of the format that its suffix names.

    One part at a time is in memory. Raises PellucidError if the file cannot be written, or if pyarrow is not installed.
    """
    write = {".csv": _csv, ".parquet": _parquet}.get(result.suffix.lower(), _json_lines)
    with atomic_file(result) as file:
        write(file, parts)


def check_installed(result: Path) -> None:
    """Raise PellucidError if the library for a file of results is not installed."""
    if result.suffix.lower() == ".parquet":
        _pyarrow()


def _json_lines(file: BinaryIO, parts: Sequence[Path]) -> None:
    for part in parts:
        with part.open("rb") as lines:
            shutil.copyfileobj(lines, file)


def _csv(file: BinaryIO, parts: Sequence[Path]) -> None:
    columns = dict.fromkeys(name for part in parts for row in _rows(part) for name in row)
    text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="", write_through=True)
    writer = csv.DictWriter(text, [*columns], lineterminator="\n")
    writer.writeheader()
    for part in parts:
        writer.writerows(_rows(part))
    text.detach()


def _parquet(file: BinaryIO, parts: Sequence[Path]) -> None:
    arrow, parquet = _pyarrow()
    types: dict[str, set[type]] = {}
    for part in parts:
        for row in _rows(part):
            for name, value in row.items():
                types.setdefault(name, set()).add(type(value))
    kinds = {name: _kind(kinds_of_column - {type(None)}) for name, kinds_of_column in types.items()}
    schema = arrow.schema([(name, arrow.type_for_alias(kind)) for name, kind in kinds.items()])
    with parquet.ParquetWriter(file, schema) as writer:
        for part in parts:
            rows = [
                {
                    name: _text(value) if kinds[name] == "string" and value is not None else value
                    for name, value in row.items()
                }
                for row in _rows(part)
            ]
            writer.write_table(arrow.Table.from_pylist(rows, schema))


def _text(value: Any) -> str:
    """Return a value as text in UTF-8, which names of files need not be in; as `_csv` writes it."""
    return str(value).encode("utf-8", "backslashreplace").decode()


def _kind(found: set[type]) -> str:
    """Return the type of a column whose values have these types."""
    if found <= {int, float} and found:
        return "float64" if float in found else "int64"
    return "bool" if found == {bool} else "string"


def _rows(part: Path) -> Iterator[dict[str, Any]]:
    with part.open("rb") as lines:
        yield from map(json.loads, lines)


def _pyarrow() -> tuple[Any, Any]:
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise PellucidError("a Parquet file needs pyarrow; pip install 'pellucid[parquet]', or give .jsonl") from error
