"""TensorBoard, MLflow and W&B, read back by their own readers: settings, and each point of the curves once."""

import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pellucid.base.errors import PellucidError
from pellucid.recipe.job import load_data, new_jobs, train_in
from pellucid.recipe.recipe import load_recipe
from pellucid.run.history import History
from pellucid.training import trackers
from pellucid.training.callbacks import Callback

# These libraries raise warnings when they are imported and when they open their databases.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("no_report")]
Points = dict[str, list[tuple[int, float]]]  # column: [(epoch, value), ...]


def points_of_tensorboard(run: Path) -> tuple[Points, str]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0, "tensors": 0}).Reload()
    points = {
        name: [(scalar.step, scalar.value) for scalar in events.Scalars(name)] for name in events.Tags()["scalars"]
    }
    assert "_hparams_/session_start_info" in events.summary_metadata
    return points, events.Tensors("recipe/text_summary")[0].tensor_proto.string_val[0].decode()


def points_of_mlflow(run: Path) -> tuple[Points, str]:
    from mlflow import MlflowClient

    client = MlflowClient()
    experiment = client.get_experiment_by_name("digits")
    assert experiment is not None
    (result,) = client.search_runs([experiment.experiment_id])
    assert result.info.run_name == run.name
    assert result.info.status == "FINISHED"
    points = {
        name: sorted((point.step, point.value) for point in client.get_metric_history(result.info.run_id, name))
        for name in result.data.metrics
    }
    return points, "\n".join(f"{key} = {value}" for key, value in result.data.params.items())


def points_of_wandb(run: Path) -> tuple[Points, str]:
    """Return points and settings from the file that `wandb sync` uploads: a LevelDB log of W&B's messages."""
    import json

    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = (run / "wandb").glob("offline-run-*/*.wandb")
    points: Points = {}
    settings = ""
    for data in leveldb_records(file.read_bytes()):
        record = Record.FromString(data)
        if record.HasField("run"):
            settings = "\n".join(f"{item.key} = {json.loads(item.value_json)}" for item in record.run.config.update)
        if record.HasField("history"):
            row = {
                item.key or item.nested_key[0]: json.loads(item.value_json)
                for item in record.history.item
            }  # fmt: skip
            for name, value in row.items():
                if not name.startswith("_"):
                    points.setdefault(name, []).append((record.history.step.num, value))
    return points, settings


def leveldb_records(data: bytes, block_size: int = 32768) -> list[bytes]:
    """Return the records of a log: blocks of pieces with checksum, length and type (1 whole; 2, 3, 4 parts)."""
    records, record, position = list[bytes](), b"", 7  # after the header of the file
    while position + 7 <= len(data):
        if block_size - position % block_size < 7:
            position += block_size - position % block_size
            continue
        _, length, piece_type = struct.unpack("<IHB", data[position : position + 7])
        piece = data[position + 7 : position + 7 + length]
        record = piece if piece_type in (1, 2) else record + piece
        if piece_type in (1, 4):
            records.append(record)
        position += 7 + length
    return records


READERS: dict[str, Callable[[Path], tuple[Points, str]]] = {
    "tensorboard": points_of_tensorboard,
    "mlflow": points_of_mlflow,
    "wandb": points_of_wandb,
}


class FailAfterFourEpochs(Callback):
    """Raises an error after epoch 4, which no checkpoint contains."""

    def on_epoch_end(self, training: Any, row: Any) -> None:
        if training.epoch == 4:
            raise OSError("broken")


@pytest.fixture(autouse=True)
def offline_trackers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("DO_NOT_TRACK", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")


@pytest.mark.heavy
@pytest.mark.parametrize("name", READERS)
def test_a_resumed_training_has_each_point_once(name: str, tmp_path: Path):
    pytest.importorskip(name, reason=f"the extra {name} is not installed")
    overrides = {"train.epochs": 6, "train.log": [name], "data.limit": 200, "data.validation": 0.2}
    overrides |= {"optimizer.lr": 0.07}
    recipe = load_recipe("digits", overrides)
    job, *_ = new_jobs(recipe, overrides, out=tmp_path / "runs", progress=False)
    saved_weights = tmp_path / "kept"

    class SaveWeights(Callback):
        """Copies the checkpoint of epoch 3, as if the process had been killed before the next one."""

        def on_epoch_end(self, training: Any, row: Any) -> None:
            if training.epoch == 3:
                shutil.copytree(job.path / "weights", saved_weights)

    with pytest.raises(OSError, match="broken"):
        train_in(job.path, job.material, False, model=job.model, callbacks=[SaveWeights(), FailAfterFourEpochs()])
    shutil.rmtree(job.path / "weights")
    shutil.copytree(saved_weights, job.path / "weights")
    train_in(job.path, load_data(recipe), False)
    points, settings = READERS[name](job.path)
    rows = History.read(job.path).rows
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
    for column in ("lr", "train_loss", "val_loss", "val_accuracy"):
        assert [epoch for epoch, _ in points[column]] == [1, 2, 3, 4, 5, 6], column
        assert [value for _, value in points[column]] == pytest.approx([row[column] for row in rows], rel=1e-6)
    assert "optimizer.lr = 0.07" in settings


def test_an_unknown_tracker_suggests_the_nearest():
    with pytest.raises(PellucidError, match=r"train\.log: no tracker 'tensorbord'; did you mean 'tensorboard'"):
        load_recipe("digits", {"train.log": ["tensorbord"]})


def test_a_missing_package_is_reported_before_a_run_folder_is_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    recipe = load_recipe("digits", {"train.log": ["mlflow"]})
    with pytest.raises(PellucidError, match=r"mlflow is not installed; pip install 'pellucid\[mlflow\]'"):
        new_jobs(recipe, {}, out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_training_continues_without_its_tracker_and_sends_each_epoch_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    sent_epochs: list[int] = []

    class FlakyTracker(trackers.Tracker):
        calls = 0

        def send(self, rows: Any) -> None:
            self.calls += 1
            if self.calls in (2, 3, 5):
                raise ConnectionError("no route to\nhost")
            sent_epochs.extend(row["epoch"] for row in rows)

        def close(self) -> None:
            sent_epochs.append(-1)

    monkeypatch.setitem(trackers._TRACKER_CLASSES, "tensorboard", FlakyTracker)
    monkeypatch.setattr(trackers, "check_trackers", lambda names: None)
    overrides = {"train.epochs": 5, "train.log": ["tensorboard"], "data.limit": 200, "data.validation": 0.2}
    job, *_ = new_jobs(load_recipe("digits", overrides), overrides, out=tmp_path / "runs", progress=False)
    job.train()
    assert sent_epochs == [1, 2, 3, 4, 5, -1]
    messages = capsys.readouterr().err
    assert messages.count("train.log: FlakyTracker cannot be reached (no route to host); the training goes on") == 2
