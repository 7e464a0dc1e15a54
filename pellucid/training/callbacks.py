"""Callbacks: code that runs around the epochs of a training."""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.arguments import Checked
from pellucid.base.settings.checks import check_known, integer
from pellucid.base.text import constructor_repr
from pellucid.nested import flatten
from pellucid.objective import Supervised
from pellucid.optim import Progress, State
from pellucid.run.history import History, Row, csv_lines, write_csv
from pellucid.training.learner import Learner

SNAPSHOT_FILE_NAME = "epoch-{}.safetensors"  # file name, with the number of the epoch


@dataclass
class Training:
    """The state of a training, which callbacks read; they may set `stop`, `lr_factor`, `pause_at`, `measure_at`."""

    model: Learner
    epochs: int  # of the whole training
    batches: int  # in one epoch
    batch_size: int
    history: History = field(default_factory=History)  # of the finished epochs
    epoch: int = 0  # the number of finished epochs
    batch: int = 0  # the number of finished batches of the current epoch
    step: int = 0  # the number of finished batches in all epochs
    lr: float = 0.0  # the learning rate of the current step, with the factor of the schedule and `lr_factor`
    lr_factor: float = 1.0  # by which the learning rate is multiplied from the next step on
    # the sums of the current epoch's losses by name, each times the weight of its batch (`Objective.total_weight`)
    losses: dict[str, Any] = field(default_factory=dict[str, Any])
    loss_count: Any = 0.0  # the sum of these weights; between two checks of the losses, possibly a tensor
    seen: int = 0  # the number of examples of the current epoch so far
    seconds: float = 0.0  # the duration of the current epoch so far
    stop: str = ""  # the reason to end the training after the current epoch, "" to go on
    lower_is_better: frozenset[str] = frozenset()  # the columns of the history that are better when lower
    pause_at: float = math.inf  # a number of steps after which the training waits and only calls `on_tick`
    measure_at: float = math.inf  # a number of steps after which the next step sets `layers`
    layers: list[Row] = field(default_factory=list[Row])  # rows like those of `History.layers`
    states: dict[str, State] = field(default_factory=dict[str, State])  # of the optimizers, by network

    def add(self, losses: Mapping[str, Any], weight: Any, examples: int) -> None:
        """Add a finished batch: its losses, their weight in the means, and its number of examples."""
        self.step += 1
        self.batch += 1
        self.seen += examples
        self.loss_count += weight
        for name, value in losses.items():
            self.losses[name] = self.losses.get(name, 0.0) + value * weight

    @property
    def progress(self) -> Progress:
        """The position of the next step among all steps, for a schedule."""
        return Progress(self.step, self.batches * self.epochs, self.batches)

    @property
    def means(self) -> dict[str, float]:
        """The mean of each loss over the current epoch so far, by name; {} before its first batch."""
        return {name: total / self.loss_count for name, total in self.losses.items()} if self.loss_count else {}

    @property
    def loss(self) -> float:
        """The total mean loss of the current epoch so far; before its first batch, the last epoch's training loss."""
        means = self.means
        return self.model.objective.total(means) if means else self.history.last.get("train_loss", float("nan"))


class Callback(metaclass=Checked):
    """Base class of callbacks, whose methods `fit` calls around steps and epochs; by default, they do nothing.

    A callback with state overrides `state_dict` and `load_state_dict`, so that a resumed training continues exactly. A
    callback that writes the model to a file sets `saves` to True: `fit` then checks before the first step that it can
    be saved.
    """

    saves: ClassVar[bool] = False
    __repr__ = constructor_repr

    def check(self, validated: bool) -> None:
        """Raise PellucidError if the callback needs validation data and `validated` is False."""

    def on_start(self, training: Training) -> None:
        """Run before the first step; in a resumed training, training.history then contains the earlier epochs."""

    def on_step(self, training: Training) -> None:
        """Run after every step; overriding this slows down the training of very small networks."""

    def on_tick(self, training: Training) -> None:
        """Run a few times each second, after a step."""

    def on_epoch_end(self, training: Training, row: Row) -> None:
        """Run after an epoch; `row` is its row, the last one of training.history."""

    def on_end(self, training: Training) -> None:
        """Run after the last epoch, before the last checkpoint is written."""

    def on_close(self) -> None:
        """Run when training ends, also with an error."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed training restores: tensors and JSON values by name.

        A callback that overrides this must also be passed to the resumed training; other callbacks may be omitted.
        """
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""


def monitored_column(name: str, row: Row) -> str:
    """Return the column `name`; for "auto", the first existing one of val_accuracy, val_loss and train_loss.

    Raises PellucidError if the column does not exist or its value is not finite.
    """
    if name == "auto":
        return next(column for column in ("val_accuracy", "val_loss", "train_loss") if column in row)
    check_known("monitor: no column", name, row)
    if row[name] is None:
        raise PellucidError(f"monitor: {name} is not finite after epoch {row['epoch']}; monitor another column")
    return name


def check_monitors(callbacks: Sequence[Callback], model: Learner, columns: Sequence[str]) -> None:
    """Raise PellucidError for a monitor that is not among the `columns` of the history, if any are known."""
    row_of_columns: Row = dict.fromkeys(columns, 0.0)
    for callback in (callback for callback in callbacks if isinstance(callback, BestEpochCallback)):
        # A user-defined objective may have losses of other names in training than in evaluation.
        may_be_unknown = not isinstance(model.objective, Supervised) and callback.monitor.endswith("loss")
        if columns and not may_be_unknown:
            monitored_column(callback.monitor or "auto", row_of_columns)


def is_better(training: Training, name: str, value: float, best: float | None, min_improvement: float = 0.0) -> bool:
    """Return whether the `value` of a column is better than `best` by more than `min_improvement`."""
    if best is None:
        return True
    return best - value > min_improvement if name in training.lower_is_better else value - best > min_improvement


def tensors_of(state: Mapping[str, Any], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `prefix`, by their names without it."""
    return {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}


class BestEpochCallback(Callback):
    """A callback that stores the best value of the column `monitor`, and its epoch."""

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor
        self.best: float | None = None
        self.best_epoch = 0

    def on_start(self, training: Training) -> None:
        """Reset the state, unless the training is resumed."""
        if not training.history.rows:
            self.best, self.best_epoch = None, 0

    def record_if_best(self, training: Training, row: Row, min_improvement: float = 0.0) -> bool:
        """Return whether the epoch is the best so far, by more than `min_improvement`; if so, store its value."""
        column = monitored_column(self.monitor, row)
        if not is_better(training, column, row[column], self.best, min_improvement):
            return False
        self.best = row[column]
        self.best_epoch = training.epoch
        return True

    def state_dict(self) -> dict[str, Any]:
        """Return the best value and its epoch."""
        return {"best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""
        self.best, self.best_epoch = state["best"], state["best_epoch"]


class Checkpoint(BestEpochCallback):
    """Write the model to `path`, for `Model.load`, whenever the monitored column improves.

    monitor: as for EarlyStopping; "" writes only the last weights, at the end. The file is replaced atomically, so
    it is always complete. To resume a training, use a run folder instead: `fit(run=...)`.
    """

    saves: ClassVar[bool] = True

    def __init__(self, path: str | os.PathLike[str], monitor: str = "auto") -> None:
        super().__init__(monitor)
        self.path = Path(path)

    def on_epoch_end(self, training: Training, row: Row) -> None:
        """Write the weights if they are the best so far."""
        if self.monitor and self.record_if_best(training, row):
            training.model.save(self.path)

    def on_end(self, training: Training) -> None:
        """Write the last weights if no column is monitored."""
        if not self.monitor:
            training.model.save(self.path)


class CSVLog(Callback):
    """Append a line to the CSV file `path` after each epoch, and one for each learned tensor to the file `layers`.

    A resumed training first removes the epochs after its checkpoint from both files, so that no epoch appears twice.
    """

    def __init__(self, path: str | os.PathLike[str], layers: str | os.PathLike[str] | None = None) -> None:
        self.path = Path(path)
        self.layers = None if layers is None else Path(layers)
        self._written_columns: list[str] = []  # of the file; [] before the first epoch

    def on_start(self, training: Training) -> None:
        """Write the epochs so far."""
        self._write(training)
        if self.layers is not None:
            write_csv(self.layers, training.history.layers)

    def on_epoch_end(self, training: Training, row: Row) -> None:
        """Append the epoch; write the file again if the epochs before it did not have all of its columns."""
        if self._written_columns in ([], [*row]):
            _append_rows(self.path, [row])
            self._written_columns = [*row]
        else:
            self._write(training)
        if self.layers is not None:
            layer_rows = takewhile(
                lambda layer_row: layer_row["epoch"] == row["epoch"], reversed(training.history.layers)
            )
            _append_rows(self.layers, list(layer_rows)[::-1])

    def _write(self, training: Training) -> None:
        write_csv(self.path, training.history.rows)
        self._written_columns = [*training.history.last]


def _append_rows(path: Path, rows: Sequence[Row]) -> None:
    try:
        with path.open("a", encoding="utf-8", newline="") as file:
            file.write("".join(csv_lines(rows, header=file.tell() == 0)))
    except OSError as error:
        raise PellucidError(f"{path} cannot be written ({error.strerror}); check the folder and its space") from error


class EarlyStopping(BestEpochCallback):
    """Stop when the monitored column has not improved for `patience` epochs, and restore the best weights.

    monitor: a column of the history. Lower is better for losses and for metrics with `lower_is_better` (such as mae,
    rmse and ece), higher for all others. "auto" is val_accuracy, or val_loss if there is none. min_delta: an
    improvement must be larger than this. The best weights are restored at the end of every training, whether or not it
    stopped early.
    Source: Prechelt 1998, "Early stopping - but when?", the class UP in its simplest form.
    """

    def __init__(self, patience: int, monitor: str = "auto", min_delta: float = 0.0) -> None:
        super().__init__(monitor)
        self.patience = integer(patience, "EarlyStopping: patience", 1)
        self.min_delta = min_delta
        self._best_weights: dict[str, Tensor] = {}

    def check(self, validated: bool) -> None:
        """Raise PellucidError if the column needs validation data and there are none."""
        if not validated and (self.monitor == "auto" or self.monitor.startswith("val_")):
            raise PellucidError(
                "EarlyStopping needs validation data; give fit validation=0.1, or EarlyStopping monitor='train_loss'"
            )

    def on_start(self, training: Training) -> None:
        """Reset the state, unless the training is resumed."""
        super().on_start(training)
        if not training.history.rows:
            self._best_weights = {}

    def on_epoch_end(self, training: Training, row: Row) -> None:
        """Copy the weights if they are the best so far; otherwise stop once `patience` epochs have passed."""
        if self.record_if_best(training, row, self.min_delta):
            self._best_weights = {path: tensor.clone() for path, tensor in flatten(training.model.params).items()}
        elif training.epoch - self.best_epoch >= self.patience:
            name = monitored_column(self.monitor, row)
            training.stop = f"{name} has not improved on {self.best:.6g} of epoch {self.best_epoch}"

    def on_end(self, training: Training) -> None:
        """Restore the best weights."""
        for path, tensor in flatten(training.model.params).items():
            if path in self._best_weights:
                tensor.copy_(self._best_weights[path])

    def state_dict(self) -> dict[str, Any]:
        """Return the best value, its epoch and its weights."""
        weights = {f"weights.{path}": tensor for path, tensor in self._best_weights.items()}
        return {**super().state_dict(), **weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""
        super().load_state_dict(state)
        self._best_weights = {path: torch.clone(tensor) for path, tensor in tensors_of(state, "weights.").items()}


class Snapshots(Callback):
    """Write the model as epoch-N.safetensors into `folder` after each epoch N in `epochs`; 0 is the initial model.

    `Model.load` reads these files.
    """

    saves: ClassVar[bool] = True

    def __init__(self, folder: str | os.PathLike[str], epochs: Iterable[int]) -> None:
        self.folder = Path(folder)
        self.epochs = frozenset(epochs)

    def on_start(self, training: Training) -> None:
        """Write the initial weights if epoch 0 is requested, unless the training is resumed."""
        if training.step == 0:
            self._write_if_requested(training)

    def on_epoch_end(self, training: Training, row: Row) -> None:
        """Write the epoch's weights if they are requested."""
        self._write_if_requested(training)

    def _write_if_requested(self, training: Training) -> None:
        if training.epoch in self.epochs:
            training.model.save(self.folder / SNAPSHOT_FILE_NAME.format(training.epoch))


def snapshot_files(folder: Path) -> dict[int, Path]:
    """Return the files that Snapshots wrote into a folder, by epoch in ascending order."""
    files = [path for path in folder.glob(SNAPSHOT_FILE_NAME.format("*")) if path.is_file()]
    epoch_texts = {path: path.stem.removeprefix("epoch-") for path in files}
    return dict(sorted((int(epoch_text), path) for path, epoch_text in epoch_texts.items() if epoch_text.isdecimal()))
