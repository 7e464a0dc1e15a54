"""The progress line of a training."""

import os
import sys
import time
from typing import TextIO

from pellucid.run.history import Row
from pellucid.training.callbacks import Callback, Training


class ProgressLine(Callback):
    """Show the epoch, the loss, the first metric, images per second and the remaining time.

    On a terminal and in a notebook, one live line is rewritten a few times a second; elsewhere, as in a file or a pipe,
    one line is written for each epoch. file: by default stderr. If it is closed, training continues without output.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self.file = file
        self._output: TextIO | None = None  # None except during training
        self._is_live = False
        self._line_length = 0  # characters of the live line
        self._metric_text = ""
        self._start = self._last_tick = (0.0, 0)  # time and step

    def on_start(self, training: Training) -> None:
        """Draw the live line, if there is one."""
        self._output = sys.stderr if self.file is None else self.file
        self._is_live = self._output is not None and is_live(self._output)
        self._metric_text = _metric_text(training.history.last)
        self._start = self._last_tick = (time.perf_counter(), training.step)
        self._draw(training, "")

    def on_tick(self, training: Training) -> None:
        """Redraw the live line."""
        last_time, last_step = self._last_tick
        now = time.perf_counter()
        self._last_tick = (now, training.step)
        speed = (training.step - last_step) * training.batch_size / max(now - last_time, 1e-9)
        self._draw(
            training,
            f"loss {training.loss:.4f}{self._metric_text}  {speed:,.0f} images/s  {self._remaining_text(training)}",
        )

    def on_epoch_end(self, training: Training, row: Row) -> None:
        """Write the epoch's line, or store its metric for the live line."""
        self._metric_text = _metric_text(row)
        if not self._is_live:
            self._write(
                f"epoch {row['epoch']}/{training.epochs}  {self._results_text(row)}  {self._remaining_text(training)}\n"
            )

    def on_end(self, training: Training) -> None:
        """Draw the live line with the results of the last epoch."""
        start_time, _ = self._start
        seconds = time.perf_counter() - start_time
        self._draw(training, f"{self._results_text(training.history.last)}  in {_duration_text(seconds)}", done=True)

    def on_close(self) -> None:
        """End the live line, also after an error."""
        if self._line_length:
            self._write("\n")
        self._line_length = 0
        self._output = None

    def _results_text(self, row: Row) -> str:
        return f"loss {row['train_loss']:.4f}{self._metric_text}  {row['images_per_second']:,.0f} images/s"

    def _remaining_text(self, training: Training) -> str:
        start_time, start_step = self._start
        if training.step == start_step:
            return ""
        seconds_per_step = (time.perf_counter() - start_time) / (training.step - start_step)
        return f"{_duration_text(seconds_per_step * (training.epochs * training.batches - training.step))} left"

    def _draw(self, training: Training, text: str, done: bool = False) -> None:
        if not self._is_live:
            return
        epoch = len(training.history) if done else min(training.epoch + 1, training.epochs)
        percent = 100 if done else 100 * training.batch // training.batches
        line = f"epoch {epoch}/{training.epochs} {percent:3} %  {text}"
        line = line[: _terminal_columns(self._output) - 1]  # a longer line would wrap, and could not be rewritten
        self._write(f"\r{line.ljust(self._line_length)}")
        self._line_length = len(line)

    def _write(self, text: str) -> None:
        if self._output is None:
            return
        try:
            self._output.write(text)
            self._output.flush()
        except (OSError, ValueError):  # a closed pipe or file
            self._output = None
            self._line_length = 0


def is_live(file: TextIO) -> bool:
    """Return whether a line in `file` can be rewritten: in a terminal, and in the stream of a Jupyter notebook."""
    return file.isatty() or type(file).__module__.partition(".")[0] == "ipykernel"


def _terminal_columns(file: TextIO | None) -> int:
    try:
        return os.get_terminal_size(file.fileno()).columns or 80 if file is not None else 80
    except (OSError, ValueError, AttributeError):  # the file is not a terminal
        return 120


def _duration_text(seconds: float) -> str:
    """Return a duration as text: 0:07, 12:34 or 1:02:03."""
    minutes, seconds_left = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds_left:02}" if minutes >= 60 else f"{minutes}:{seconds_left:02}"


def _metric_text(row: Row) -> str:
    """Return the first metric of an epoch as text, preferably of the validation data; "" if there is none."""
    names = [name for name in row if name.startswith("val_")] + [name for name in row if name.startswith("train_")]
    metrics = (name for name in names if not name.endswith("_loss") and row[name] is not None)
    return next((f"  {name} {row[name]:.4f}" for name in metrics), "")
