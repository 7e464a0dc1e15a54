"""Callbacks: code that runs around the epochs of a training."""

import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any, ClassVar, TextIO

import torch
from torch import Tensor

from pellucid.calls import Checked
from pellucid.errors import PellucidError, nearest
from pellucid.run.history import History, Row, csv_lines, write_csv
from pellucid.text import constructed
from pellucid.training.arguments import whole
from pellucid.training.learner import Learner
from pellucid.tree import flatten

PATTERN = "epoch-{}.safetensors"


@dataclass
class Training:
    """The state of a training, which callbacks read; they end it by setting `stop` to the reason.

    epoch and batch count what is finished, `step` all batches since the beginning. losses: the sums of the running
    epoch's losses by name, each times its batch's weight (`Objective.counted`); loss_count: the sum of these weights;
    seen: the number of examples. seconds: of the running epoch. lower: the columns of the history that are better when
    lower.
    """

    model: Learner
    epochs: int
    batches: int  # in one epoch
    batch_size: int
    history: History = field(default_factory=History)
    epoch: int = 0
    batch: int = 0
    step: int = 0
    lr: float = 0.0
    losses: dict[str, Any] = field(default_factory=dict[str, Any])
    loss_count: float = 0.0
    seen: int = 0
    seconds: float = 0.0
    stop: str = ""
    lower: frozenset[str] = frozenset()

    @property
    def means(self) -> dict[str, float]:
        """The mean of each loss over the running epoch so far."""
        return {name: total / self.loss_count for name, total in self.losses.items()} if self.loss_count else {}

    @property
    def loss(self) -> float:
        """The mean loss of the running epoch so far, of several their weighted sum, or that of the last epoch."""
        means = self.means
        return self.model.objective.total(means) if means else self.history.last.get("train_loss", float("nan"))


class Callback(metaclass=Checked):
    """Methods that `fit` calls around steps and epochs; each does nothing unless it is overridden.

    A callback with state has `state_dict` and `load_state_dict`, so that a resumed training continues exactly. One that
    writes the model to a file sets `saves`: a model that cannot be saved is then refused before the first step.
    """

    saves: ClassVar[bool] = False
    __repr__ = constructed

    def check(self, validated: bool) -> None:
        """Raise PellucidError where the callback needs validation data and the training has none."""

    def on_start(self, training: Training) -> None:
        """Run before the first step, also of a resumed training (training.history then has rows)."""

    def on_step(self, training: Training) -> None:
        """Run after every step; overriding this slows the training of tiny networks down."""

    def on_tick(self, training: Training) -> None:
        """Run a few times each second, after a step."""

    def on_epoch_end(self, training: Training, row: Row) -> None:
        """Run after an epoch, whose row is already the last one of training.history."""

    def on_end(self, training: Training) -> None:
        """Run after the last epoch, before the last checkpoint."""

    def on_close(self) -> None:
        """Run at the very end, also when training stops with an error."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed training restores: tensors and JSON values by name.

        A callback that overrides this must be given to the resumed training too; others may be left out there.
        """
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""


def monitored(name: str, row: Row) -> str:
    """Return the column to watch: `name`, or for "auto" the validation accuracy, else the validation or train loss."""
    if name == "auto":
        return next(column for column in ("val_accuracy", "val_loss", "train_loss") if column in row)
    if name not in row:
        raise PellucidError(f"monitor: no column {name!r}{nearest(name, row)}; known: {', '.join(row)}")
    if row[name] is None:
        raise PellucidError(f"monitor: {name} is not finite after epoch {row['epoch']}; monitor another column")
    return name


def better(training: Training, name: str, value: float, best: float | None, least: float = 0.0) -> bool:
    """Return whether `value` of the column `name` beats `best` by more than `least`, in the column's own direction."""
    if best is None:
        return True
    return best - value > least if name in training.lower else value - best > least


def tensors_of(state: Mapping[str, Any], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `prefix`, without it."""
    return {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}


class Best(Callback):
    """A callback that remembers the best value of the column `monitor`, and the epoch that it is of."""

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor
        self.best: float | None = None
        self.best_epoch = 0

    def on_start(self, training: Training) -> None:
        """Forget an earlier training."""
        if not training.history.rows:
            self.best, self.best_epoch = None, 0

    def improved(self, training: Training, row: Row, least: float = 0.0) -> bool:
        """Return whether the epoch is the best so far, by more than `least`, and remember it if so."""
        name = monitored(self.monitor, row)
        if not better(training, name, row[name], self.best, least):
            return False
        self.best, self.best_epoch = row[name], training.epoch
        return True

    def state_dict(self) -> dict[str, Any]:
        """Return the best value and its epoch."""
        return {"best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.best, self.best_epoch = state["best"], state["best_epoch"]


class Checkpoint(Best):
    """Write the model to `path` whenever the monitored column improves; what `Model.load` reads.

    monitor: as in EarlyStopping; "" writes only the last weights, at the end. The file is replaced as a whole, so
    there is always a good one. Resuming needs a run folder instead: `fit(run=...)`.
    """

    saves: ClassVar[bool] = True

    def __init__(self, path: str | os.PathLike[str], monitor: str = "auto") -> None:
        super().__init__(monitor)
        self.path = Path(path)

    def on_epoch_end(self, training: Training, row: Row) -> None:
        """Write the weights if they are the best so far."""
        if self.monitor and self.improved(training, row):
            training.model.save(self.path)

    def on_end(self, training: Training) -> None:
        """Write the last weights if nothing chooses among them."""
        if not self.monitor:
            training.model.save(self.path)


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


class EarlyStopping(Best):
    """Stop when the monitored column has not improved for `patience` epochs, and end with its best weights.

    monitor: a column of the history; the losses and metrics with `lower_is_better` (mae, rmse, ece) should fall, all
    others rise. "auto" is val_accuracy, else val_loss. min_delta: what counts as an improvement must be larger.
    The best weights are restored at the end of every training, whether or not it stopped early.
    Source: Prechelt 1998, "Early stopping - but when?", the class UP in its simplest form.
    """

    def __init__(self, patience: int, monitor: str = "auto", min_delta: float = 0.0) -> None:
        super().__init__(monitor)
        self.patience = whole(patience, "EarlyStopping: patience", 1)
        self.min_delta = min_delta
        self._weights: dict[str, Tensor] = {}

    def check(self, validated: bool) -> None:
        """Require validation data for a column that is measured on them."""
        if not validated and (self.monitor == "auto" or self.monitor.startswith("val_")):
            raise PellucidError(
                "EarlyStopping needs validation data; give fit validation=0.1, or EarlyStopping monitor='train_loss'"
            )

    def on_start(self, training: Training) -> None:
        """Forget an earlier training."""
        super().on_start(training)
        if not training.history.rows:
            self._weights = {}

    def on_epoch_end(self, training: Training, row: Row) -> None:
        """Keep the weights if they are the best so far; otherwise stop once `patience` epochs have passed."""
        if self.improved(training, row, self.min_delta):
            self._weights = {path: tensor.clone() for path, tensor in flatten(training.model.params).items()}
        elif training.epoch - self.best_epoch >= self.patience:
            name = monitored(self.monitor, row)
            training.stop = f"{name} has not improved on {self.best:.6g} of epoch {self.best_epoch}"

    def on_end(self, training: Training) -> None:
        """Restore the best weights."""
        for path, tensor in flatten(training.model.params).items():
            if path in self._weights:
                tensor.copy_(self._weights[path])

    def state_dict(self) -> dict[str, Any]:
        """Return the best value, its epoch and its weights."""
        weights = {f"weights.{path}": tensor for path, tensor in self._weights.items()}
        return {**super().state_dict(), **weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        super().load_state_dict(state)
        self._weights = {path: torch.clone(tensor) for path, tensor in tensors_of(state, "weights.").items()}


class Snapshots(Callback):
    """Write the model into `folder` as epoch-N.safetensors after each epoch N of `epochs`; 0 is before the first.

    They are what `Model.load` reads, and change nothing of the training.
    """

    saves: ClassVar[bool] = True

    def __init__(self, folder: str | os.PathLike[str], epochs: Iterable[int]) -> None:
        self.folder = Path(folder)
        self.epochs = frozenset(epochs)

    def on_start(self, training: Training) -> None:
        """Write the weights that nothing has been learned into, of a training that begins."""
        if training.step == 0:
            self._keep(training)

    def on_epoch_end(self, training: Training, row: Row) -> None:
        """Write the epoch's weights if they are requested."""
        self._keep(training)

    def _keep(self, training: Training) -> None:
        if training.epoch in self.epochs:
            training.model.save(self.folder / PATTERN.format(training.epoch))


def kept_epochs(folder: Path) -> dict[int, Path]:
    """Return the files that Snapshots left in a folder of weights, by epoch, the first first."""
    numbers = {path: path.stem.removeprefix("epoch-") for path in folder.glob(PATTERN.format("*"))}
    return dict(sorted((int(number), path) for path, number in numbers.items() if number.isdecimal()))


class Progress(Callback):
    """Show the epoch, the loss, the last metric, images per second and the time left.

    On a terminal and in a notebook one line is rewritten a few times a second; elsewhere, as in a file or a pipe,
    each epoch gets a line of its own. file: where to, by default stderr. When it is closed, training continues.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self.file = file
        self._to: TextIO | None = None  # while training
        self._live = False
        self._drawn = 0  # characters of the live line
        self._metric = ""
        self._begun = self._mark = (0.0, 0)  # time and step, at the start and at the last tick

    def on_start(self, training: Training) -> None:
        """Draw the first line, if it is live."""
        self._to = sys.stderr if self.file is None else self.file
        self._live = self._to is not None and is_live(self._to)
        self._metric = _metric(training.history.last)
        self._begun = self._mark = (time.perf_counter(), training.step)
        self._draw(training, "")

    def on_tick(self, training: Training) -> None:
        """Redraw the live line."""
        (then, step), now = self._mark, time.perf_counter()
        self._mark = (now, training.step)
        speed = (training.step - step) * training.batch_size / max(now - then, 1e-9)
        self._draw(training, f"loss {training.loss:.4f}{self._metric}  {speed:,.0f} images/s  {self._left(training)}")

    def on_epoch_end(self, training: Training, row: Row) -> None:
        """Write the epoch's line, or remember its metric for the live one."""
        self._metric = _metric(row)
        if not self._live:
            self._write(f"epoch {row['epoch']}/{training.epochs}  {self._measured(row)}  {self._left(training)}\n")

    def on_end(self, training: Training) -> None:
        """Draw the live line a last time."""
        seconds = time.perf_counter() - self._begun[0]
        self._draw(training, f"{self._measured(training.history.last)}  in {_clock(seconds)}", done=True)

    def on_close(self) -> None:
        """End the live line, also when training stops with an error."""
        if self._drawn:
            self._write("\n")
        self._drawn, self._to = 0, None

    def _measured(self, row: Row) -> str:
        return f"loss {row['train_loss']:.4f}{self._metric}  {row['images_per_second']:,.0f} images/s"

    def _left(self, training: Training) -> str:
        begun_at, first = self._begun
        if training.step == first:
            return ""
        per_step = (time.perf_counter() - begun_at) / (training.step - first)
        return f"{_clock(per_step * (training.epochs * training.batches - training.step))} left"

    def _draw(self, training: Training, text: str, done: bool = False) -> None:
        if not self._live:
            return
        epoch = len(training.history) if done else min(training.epoch + 1, training.epochs)
        share = 100 if done else 100 * training.batch // training.batches
        line = f"epoch {epoch}/{training.epochs} {share:3} %  {text}"
        line = line[: _columns(self._to) - 1]  # a longer one would wrap, and could not be rewritten
        self._write(f"\r{line.ljust(self._drawn)}")
        self._drawn = len(line)

    def _write(self, text: str) -> None:
        if self._to is None:
            return
        try:
            self._to.write(text)
            self._to.flush()
        except (OSError, ValueError):  # a closed pipe or file
            self._to, self._drawn = None, 0


def is_live(file: TextIO) -> bool:
    """Return whether a line can be rewritten there: on a terminal, and in the stream of a Jupyter notebook."""
    return file.isatty() or type(file).__module__.partition(".")[0] == "ipykernel"


def _columns(file: TextIO | None) -> int:
    try:
        return os.get_terminal_size(file.fileno()).columns or 80 if file is not None else 80
    except (OSError, ValueError, AttributeError):  # no terminal of the operating system
        return 120


def _clock(seconds: float) -> str:
    """Return seconds as 0:07, 12:34 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def _metric(row: Row) -> str:
    """Return the first metric of an epoch that is not a loss, on the validation data where there are some."""
    names = [name for name in row if name.startswith("val_")] + [name for name in row if name.startswith("train_")]
    known = (name for name in names if not name.endswith("_loss") and row[name] is not None)
    return next((f"  {name} {row[name]:.4f}" for name in known), "")
