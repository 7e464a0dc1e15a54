"""The metrics of each epoch, in memory and as CSV."""

import csv
import io
import math
import operator
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from pellucid.base.errors import PellucidError, nearest
from pellucid.base.files import read_regular, reason_of, write_atomically
from pellucid.base.limits import MAX_HISTORY_BYTES, MAX_HISTORY_ROWS, MAX_HISTORY_VALUES
from pellucid.base.text import aligned, plural, printable, shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = dict[str, Any]
OMITTED_FROM_REPR = ("epoch", "step", "lr", "seconds", "images_per_second", "slowest_process", "wait_seconds")
COUNT_COLUMNS = ("epoch", "step")  # columns of whole numbers
MAX_COUNT = 2**53
_match_integer = re.compile(r"-?[0-9]{1,18}").fullmatch


@dataclass(repr=False)
class History:
    """The rows of a training, one per finished epoch."""

    # epoch (from 1), step, lr (at the epoch's last step), train_loss (the mean over the epoch's batches, each before
    # its update, without regularization), train_accuracy (after the epoch, in evaluation mode without augmentation, on
    # a sample of the training images, see `sample_indices`), val_loss and val_accuracy if there
    # are validation data, seconds, images_per_second. A training in shards adds slowest_process, the process that the
    # others waited for, and wait_seconds, the longest of these waits. The columns of other metrics replace the
    # accuracies. Values that are not finite are None.
    rows: list[Row] = field(default_factory=list)
    # for each trained tensor the epoch, its path, grad_norm (L2 norm of the gradient) and update_ratio (root mean
    # square of the update divided by that of the tensor), both at the epoch's last step, None if not finite
    layers: list[Row] = field(default_factory=list)

    def __len__(self) -> int:
        """Return the number of finished epochs."""
        return len(self.rows)

    @overload
    def __getitem__(self, key: int) -> Row: ...

    @overload
    def __getitem__(self, key: str | slice) -> list[Any]: ...

    def __getitem__(self, key: str | int | slice) -> Row | list[Any]:
        """Return one column, such as history["val_loss"], or the row of an epoch by its index, such as history[-1].

        A slice returns a list of rows. Raises PellucidError for an unknown column, and for an epoch that there is not.
        """
        if isinstance(key, slice):
            return self.rows[key]
        if isinstance(key, str):
            if key not in self:
                known = ", ".join(self.last) or "none yet"
                raise PellucidError(f"history: no column {key!r:.80}; known: {known}{nearest(key, self.last)}")
            return [row[key] for row in self.rows]
        try:
            index = operator.index(key)
        except TypeError:
            text = f"history: {shown(key)} is neither the name of a column nor the index of an epoch"
            raise PellucidError(f'{text}; give history["train_loss"] or history[-1]') from None
        if not -len(self.rows) <= index < len(self.rows):
            raise PellucidError(f"history: no row {index}; there are {plural(len(self), 'epoch')}, with indices from 0")
        return self.rows[index]

    def __iter__(self) -> Iterator[Row]:
        """Return an iterator over the rows of the epochs."""
        return iter(self.rows)

    def __contains__(self, name: object) -> bool:
        """Return whether there is a column of this name."""
        return name in self.last

    @property
    def last(self) -> Row:
        """The row of the last finished epoch; {} before the first."""
        return self.rows[-1] if self.rows else {}

    def add(self, row: Row) -> Row:
        """Append the row of an epoch, and return it; a column that a row lacks becomes None in it.

        A training that is resumed by a later version may have more columns than its first epochs.
        """
        columns = list(dict.fromkeys([*self.last, *row]))
        if columns != list(self.last):
            self.rows[:] = [{name: earlier.get(name) for name in columns} for earlier in self.rows]
        self.rows.append({name: row.get(name) for name in columns})
        return self.last

    def __repr__(self) -> str:
        """Return the last finished epoch in one line."""
        metric_texts = [
            f"{name} {_cell_text(value)}" for name, value in self.last.items() if name not in OMITTED_FROM_REPR
        ]
        return printable(
            f"<History: {plural(len(self), 'epoch')}{'; ' if metric_texts else ''}{', '.join(metric_texts)}>"
        )

    def __str__(self) -> str:
        """Return all epochs as a table."""
        return aligned(self._table_cells(), right=range(len(self.last))) if self.rows else repr(self)

    def _repr_html_(self) -> str:
        """Return all epochs as curves and as an HTML table for notebooks."""
        from pellucid.report.embedded import embedded_figure
        from pellucid.report.page import table_html

        has_curves = any(name.startswith("train_") for name in self.last)
        stills = [("by epoch", embedded_figure(self.plot()))] if has_curves else []
        return table_html(repr(self)[1:-1], self._table_cells(), range(len(self.last)), stills)

    def _table_cells(self) -> list[list[str]]:
        return [list(self.last), *([_cell_text(row.get(name)) for name in self.last] for row in self.rows)]

    def plot(self) -> "Figure":
        """Draw the losses, and the accuracies if there are any, by epoch; return a matplotlib Figure.

        Outside notebooks, save it with `history.plot().savefig("curves.png")`. Raises PellucidError before the end of
        the first epoch.
        """
        from pellucid.report.figures.curves import history_curves

        if not self.rows:
            raise PellucidError("history: there is no finished epoch to plot yet; fit first")
        return history_curves(self.rows)

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> "History":
        """Read metrics.csv and, if present, layers.csv of a run folder.

        Raises PellucidError, naming file and line, if one cannot be read or has a value that training does not write.
        """
        metrics, layers = Path(folder) / "metrics.csv", Path(folder) / "layers.csv"
        history = cls(read_csv(metrics), read_csv(layers) if layers.exists() else [])
        check_columns(metrics, history.rows, ("epoch",))
        check_columns(layers, history.layers, ("epoch", "path"))
        check_values(metrics, history.rows)
        check_values(layers, history.layers)
        return history


def _cell_text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return "" if value is None else str(value)


def write_csv(path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows with a header line, atomically."""
    write_atomically(path, "".join(csv_lines(rows, header=True)).encode(), durable=False)


def csv_lines(rows: Iterable[Mapping[str, Any]], header: bool) -> list[str]:
    """Return rows as CSV lines, after a line of column names if `header`; None becomes an empty field."""
    lines: list[str] = []
    for row in rows:
        if header and not lines:
            lines.append(_csv_line(row))
        lines.append(_csv_line(row.values()))
    return lines


def read_csv(path: str | os.PathLike[str]) -> list[Row]:
    """Return the rows of a CSV file, with numbers converted.

    Raises PellucidError if it cannot be read, names a column twice, or has more than MAX_HISTORY_ROWS rows or
    MAX_HISTORY_VALUES values.
    """
    path = Path(path)
    rows: list[Row] = []
    try:
        lines = csv.reader(
            io.TextIOWrapper(
                io.BytesIO(read_regular(path, MAX_HISTORY_BYTES, follow_links=False)), "utf-8", newline=""
            ),
            strict=True,
        )
        columns = next(lines, [])
        numeric_columns = [name for name in columns if name != "path"]
        if len(set(columns)) < len(columns):
            raise ValueError("the first line names a column twice")
        for values in filter(None, lines):  # empty lines are left out
            if len(values) != len(columns):
                raise PellucidError(
                    f"{path}: line {lines.line_num} has more or fewer values than the first; resume the run to "
                    "repair it"
                )
            if len(rows) == MAX_HISTORY_ROWS or len(rows) * len(columns) > MAX_HISTORY_VALUES:
                raise ValueError(f"it has more than {MAX_HISTORY_ROWS:,} rows or {MAX_HISTORY_VALUES:,} values")
            row: Row = dict(zip(columns, values, strict=True))
            for name in numeric_columns:
                row[name] = _parse_field(row[name])
            if "path" in row:
                row["path"] = sys.intern(row["path"])  # one string for all epochs
            rows.append(row)
    except (OSError, ValueError, csv.Error) as error:
        raise PellucidError(
            f"{path} cannot be read ({reason_of(error)}); give a run folder that training wrote"
        ) from error
    return rows


def check_columns(path: Path, rows: Sequence[Row], required: Iterable[str]) -> None:
    """Raise PellucidError unless rows, if there are any, have the columns `required`; their values are not checked."""
    missing = [name for name in required if rows and name not in rows[0]]
    if missing:
        raise PellucidError(
            f"{path}: no column {missing[0]!r} among {', '.join(rows[0])}, so training did not write it; remove the "
            "file, or restore the original"
        )


def check_values(path: Path, rows: Iterable[Row]) -> None:
    """Raise PellucidError unless epochs and steps are integers, paths are text, and other values numbers or None."""
    for line, row in enumerate(rows, 2):
        column = next((name for name, value in row.items() if not _is_valid(name, value)), None)
        if column is not None:
            expected = "a whole number" if column in COUNT_COLUMNS else "a number"
            if column == "path":
                expected = "text"
            raise PellucidError(
                f"{path}: {column} is {row[column]!r:.40} in line {line}, where training writes {expected}; remove the "
                "file, or restore the original"
            )


def _is_valid(name: str, value: Any) -> bool:
    if name in COUNT_COLUMNS:
        return isinstance(value, int) and 0 <= value <= MAX_COUNT
    return bool(value) and value.isprintable() if name == "path" else not isinstance(value, str)


def _csv_line(values: Iterable[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(["" if value is None else value for value in values])
    return text.getvalue()


def _parse_field(text: str) -> Any:
    """Return a CSV field as an integer or a float, None if empty or not finite; unchanged if it is not a number."""
    if not text:
        return None
    if _match_integer(text):
        return int(text)
    try:
        value = float(text)
    except ValueError:
        return text
    return value if math.isfinite(value) else None
