"""Callbacks that send the curves and settings of a training to TensorBoard, MLflow or Weights & Biases.

Each curve has one point for each epoch, even if a training is resumed from a checkpoint older than the last point.
"""

import json
import secrets
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pellucid.base.errors import PellucidError
from pellucid.base.files import make_folder, write_atomically
from pellucid.base.text import note
from pellucid.run.history import Row
from pellucid.run.records import read_line
from pellucid.training.callbacks import Callback, Training

TRACKERS = ("tensorboard", "mlflow", "wandb")  # each is the name of a package, and of the extra that installs it
MAX_BATCH = 100  # settings, or points, in one request to MLflow
MAX_TEXT = 250  # characters of a setting


class Tracker(Callback, ABC):
    """Base class of trackers.

    run: the run folder.
    project: the name that groups runs.
    settings: by key.

    While a tracker cannot be reached, the training continues: a message reports this once, and the unsent epochs are
    sent together with a later one. Only a tracker that cannot be reached at the start is an error.
    """

    def __init__(self, run: Path, project: str, settings: Mapping[str, Any]) -> None:
        self.run = run
        self.project = project
        self.settings: dict[str, Any] = {key: _as_json(value) for key, value in settings.items()}
        self._unsent_rows: list[Row] = []
        self._is_unreachable = False  # whether a message has reported that

    def on_epoch_end(self, training: Training, row: Row) -> None:
        """Send the epoch, and earlier ones that could not be sent."""
        self._unsent_rows.append(row)
        with self._reporting_errors():
            self.send(self._unsent_rows)
            self._unsent_rows.clear()
            self._is_unreachable = False

    def on_close(self) -> None:
        """Send the unsent epochs, and end the run."""
        with self._reporting_errors():
            if self._unsent_rows:
                self.send(self._unsent_rows)
            self.close()

    @abstractmethod
    def send(self, rows: Sequence[Row]) -> None:
        """Send epochs, of which some may have been sent before."""

    @abstractmethod
    def close(self) -> None:
        """End the run, if it has begun."""

    @contextmanager
    def _reporting_errors(self) -> Generator[None, None, None]:
        """Print a message for an error in the context, instead of raising it."""
        try:
            yield
        except Exception as error:  # the libraries and their dependencies raise errors of many types
            if not self._is_unreachable:
                name = type(self).__name__
                reason = " ".join(str(error).split())[:300]
                note(f"train.log: {name} cannot be reached ({reason}); the training goes on")
            self._is_unreachable = True

    def stored_run_id(self, make: Callable[[], str]) -> str:
        """Return the tracker's id of this run, which the run folder stores; the first call creates it by `make`."""
        file = self.run / f"{type(self).__name__.lower()}.txt"
        run_id = read_line(file, "remove it, and a new run of the tracker begins")
        if run_id is None:
            run_id = make()
            write_atomically(file, f"{run_id}\n".encode())
        return run_id


class TensorBoard(Tracker):
    """Write RUN/tensorboard for `tensorboard --logdir`; each start replaces earlier files."""

    _writer: Any = None

    def on_start(self, training: Training) -> None:
        """Write the settings and the epochs so far, in place of earlier files."""
        tensorboard: Any = import_module("torch.utils.tensorboard")
        summaries: Any = import_module("torch.utils.tensorboard.summary")
        folder = make_folder(self.run / "tensorboard")
        for file in folder.glob("events.out.tfevents.*"):
            file.unlink()
        writer: Any = tensorboard.SummaryWriter(str(folder))
        self._writer = writer
        for summary in summaries.hparams(self.settings, {}):
            writer.file_writer.add_summary(summary)
        writer.add_text("recipe", "\n".join(f"    {key} = {value}" for key, value in self.settings.items()))
        self.send(training.history.rows)

    def send(self, rows: Sequence[Row]) -> None:
        """Write epochs."""
        for row in rows:
            for name, value in _finite_columns(row):
                self._writer.add_scalar(name, value, row["epoch"])
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class MLflow(Tracker):
    """Log to the server or the database of MLFLOW_TRACKING_URI, or by default to MLflow's own default."""

    _client: Any = None
    _is_finished = False

    def on_start(self, training: Training) -> None:
        """Begin the run, or continue the one that this training began, and log the epochs so far."""
        mlflow: Any = import_module("mlflow")
        self._client = mlflow.MlflowClient()
        self._is_finished = False
        with _as_pellucid_error("mlflow", mlflow.exceptions.MlflowException):
            self._run_id = self.stored_run_id(self._begin)
            self._client.update_run(self._run_id, status="RUNNING")
            names = {name for row in training.history.rows for name, _ in _finite_columns(row)}
            names |= set(self._client.get_run(self._run_id).data.metrics)
            points = ((name, self._client.get_metric_history(self._run_id, name)) for name in names)
            self._sent_points = {(name, point.step) for name, sent_points in points for point in sent_points}
            self.send(training.history.rows)

    def send(self, rows: Sequence[Row]) -> None:
        """Log the points that the run does not contain yet."""
        entities: Any = import_module("mlflow.entities")
        now = int(1000 * time.time())
        points = [(name, value, row["epoch"]) for row in rows for name, value in _finite_columns(row)]
        new_points = [(name, value, epoch) for name, value, epoch in points if (name, epoch) not in self._sent_points]
        for request_batch in _request_batches(
            [entities.Metric(name, value, now, epoch) for name, value, epoch in new_points]
        ):
            self._client.log_batch(self._run_id, metrics=request_batch)
        self._sent_points |= {(name, epoch) for name, _, epoch in new_points}

    def on_end(self, training: Training) -> None:
        """Record that the training is finished."""
        self._is_finished = True

    def close(self) -> None:
        """End the run."""
        if self._client is not None:
            self._client.set_terminated(self._run_id, "FINISHED" if self._is_finished else "KILLED")
            self._client = None

    def _begin(self) -> str:
        """Create a run with the settings, in the experiment named after the project, and return its id."""
        client = self._client
        errors = import_module("mlflow.exceptions")
        existing = client.get_experiment_by_name(self.project)
        try:
            experiment = client.create_experiment(self.project) if existing is None else existing.experiment_id
        except errors.MlflowException:
            existing = client.get_experiment_by_name(self.project)
            if existing is None:  # no other process has created it
                raise
            experiment = existing.experiment_id
        run_id = client.create_run(experiment, run_name=self.run.name).info.run_id
        entities: Any = import_module("mlflow.entities")
        for request_batch in _request_batches(
            [entities.Param(key, str(value)) for key, value in self.settings.items()]
        ):
            client.log_batch(run_id, params=request_batch)
        return run_id


class Wandb(Tracker):
    """Log to Weights & Biases in the mode WANDB_MODE; without a connection ("offline"), into RUN/wandb."""

    _run: Any = None

    def on_start(self, training: Training) -> None:
        """Begin the run, or resume it, and log the epochs so far; an offline run is replaced."""
        wandb: Any = import_module("wandb")
        with _as_pellucid_error("wandb", wandb.errors.Error):
            self._run = wandb.init(
                project=self.project, name=self.run.name, dir=str(self.run), config=self.settings,
                id=self.stored_run_id(lambda: secrets.token_hex(4)), resume="allow", reinit="create_new",
            )  # fmt: skip
        if self._run.offline:
            own_folder = Path(self._run.dir).parent
            for folder in own_folder.parent.glob("offline-run-*"):
                if folder != own_folder:
                    shutil.rmtree(folder)
        self.send(training.history.rows)

    def send(self, rows: Sequence[Row]) -> None:
        """Log the epochs that the run does not contain yet."""
        for row in rows:
            if row["epoch"] >= self._run.step:  # a resumed run refuses steps that it contains
                self._run.log(dict(_finite_columns(row)), step=row["epoch"])

    def close(self) -> None:
        """End the run."""
        if self._run is not None:
            self._run.finish()
            self._run = None


_TRACKER_CLASSES: dict[str, type[Tracker]] = {"tensorboard": TensorBoard, "mlflow": MLflow, "wandb": Wandb}


def check_trackers(names: Sequence[str]) -> None:
    """Raise PellucidError for a tracker whose package is not installed."""
    for name in names:
        if find_spec(name) is None:
            raise PellucidError(f"train.log: {name} is not installed; pip install 'pellucid[{name}]', or leave it out")


def trackers(names: Sequence[str], run: Path, project: str, tables: Mapping[str, Mapping[str, Any]]) -> list[Callback]:
    """Return the trackers of a run; tables: those of its recipe, by name."""
    check_trackers(names)
    settings = {f"{table}.{key}": value for table, keys in tables.items() for key, value in keys.items()}
    return [_TRACKER_CLASSES[name](run, project, settings) for name in names]


@contextmanager
def _as_pellucid_error(name: str, error_type: type[Exception]) -> Generator[None, None, None]:
    """Convert an error of a tracker's library in the context to a PellucidError of one line."""
    try:
        yield
    except error_type as error:
        reason = " ".join(str(error).split())[:300]
        raise PellucidError(f"train.log: {name}: {reason}; check its settings, or leave it out") from error


def _finite_columns(row: Row) -> Iterator[tuple[str, float]]:
    """Yield the columns of an epoch that are finite numbers."""
    return ((name, float(value)) for name, value in row.items() if name != "epoch" and value is not None)


def _request_batches(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (values[k : k + MAX_BATCH] for k in range(0, len(values), MAX_BATCH))


def _as_json(value: Any) -> Any:
    """Return a setting as a number or text, which all trackers accept."""
    if isinstance(value, bool | int | float):
        return value
    return value[:MAX_TEXT] if isinstance(value, str) else json.dumps(value, default=str)[:MAX_TEXT]
