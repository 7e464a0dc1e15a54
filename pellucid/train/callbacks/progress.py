"""Live progress in a terminal."""

import sys
import time
from typing import Any, TextIO

from pellucid.train.callbacks.base import Callback, Training
from pellucid.train.history import Row


class Progress(Callback):
    """Show a bar with the epoch, the loss, the last metric, images/s and the time left, on stderr.

    It prints nothing when `file` (by default stderr) is not a terminal.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self.file = file
        self._bar: Any = None
        self._task: Any = None
        self._metric = ""
        self._mark = (0.0, 0)  # time and step at the last tick

    def on_start(self, training: Training) -> None:
        """Draw the bar, if there is a terminal."""
        file = sys.stderr if self.file is None else self.file
        if not file.isatty():
            return
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self._bar = Bar(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=10),
            TextColumn("{task.fields[measured]}"),
            TimeRemainingColumn(),
            console=Console(file=file),
            auto_refresh=False,
        )
        self._mark = (time.perf_counter(), training.step)
        self._metric = _metric(training.history.last)
        total = training.epochs * training.batches
        self._task = self._bar.add_task("", total=total, completed=training.step, **self._fields(training, 0.0))
        self._bar.start()

    def on_tick(self, training: Training) -> None:
        """Draw the bar anew."""
        if self._bar is None:
            return
        (then, step), now = self._mark, time.perf_counter()
        self._mark = (now, training.step)
        speed = (training.step - step) * training.batch_size / max(now - then, 1e-9)
        self._bar.update(self._task, completed=training.step, refresh=True, **self._fields(training, speed))

    def on_epoch_end(self, training: Training, row: Row) -> None:
        """Remember the epoch's metric for the bar."""
        self._metric = _metric(row)

    def on_end(self, training: Training) -> None:
        """Draw the bar a last time."""
        if self._bar is not None:
            fields = self._fields(training, training.history.last.get("images_per_second", 0.0))
            self._bar.update(self._task, total=training.step, completed=training.step, refresh=True, **fields)

    def on_close(self) -> None:
        """Give the terminal back."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _fields(self, training: Training, speed: float) -> dict[str, Any]:
        epoch = min(training.epoch + 1, training.epochs)
        return {
            "epoch": f"{epoch}/{training.epochs}",
            "measured": f"loss {training.loss:.4f}{self._metric}  {speed:,.0f} images/s" if training.step else "",
        }


def _metric(row: Row) -> str:
    """Return the first metric of an epoch that is no loss, on the validation data where there are some."""
    names = [name for name in row if name.startswith("val_")] + [name for name in row if name.startswith("train_")]
    known = (name for name in names if not name.endswith("_loss") and row[name] is not None)
    return next((f"  {name} {row[name]:.4f}" for name in known), "")
