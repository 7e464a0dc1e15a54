"""The history of a training as CSV, while it runs."""

import os
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from pellucid.errors import PellucidError
from pellucid.run.history import Row, csv_lines, write_csv
from pellucid.training.callbacks.base import Callback, Training


class CSVLog(Callback):
    """Add a line to `path` after each epoch, and to `layers` one for each learned tensor.

    A resumed training first cuts both files to the epochs that its checkpoint knows, so no line stands twice.
    """

    def __init__(self, path: str | os.PathLike[str], layers: str | os.PathLike[str] | None = None) -> None:
        self.path = Path(path)
        self.layers = None if layers is None else Path(layers)

    def on_start(self, training: Training) -> None:
        """Write what is known so far."""
        write_csv(self.path, training.history.rows)
        if self.layers is not None:
            write_csv(self.layers, training.history.layers)

    def on_epoch_end(self, training: Training, row: Row) -> None:
        """Add the epoch."""
        _append(self.path, [row])
        if self.layers is not None:
            lines = takewhile(lambda line: line["epoch"] == row["epoch"], reversed(training.history.layers))
            _append(self.layers, list(lines)[::-1])


def _append(path: Path, rows: Sequence[Row]) -> None:
    try:
        with path.open("a", encoding="utf-8", newline="") as file:
            file.write("".join(csv_lines(rows, header=file.tell() == 0)))
    except OSError as error:
        raise PellucidError(f"{path} cannot be written ({error.strerror}); check the place and its space") from error
