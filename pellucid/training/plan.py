"""The arguments of a training, and the plan made of them and the data."""

import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import boolean, check, check_above_zero, instances, integer
from pellucid.base.text import shown
from pellucid.data.source import Source
from pellucid.optim import Schedule
from pellucid.run.folder import RunFolder
from pellucid.training.callbacks import Callback, Checkpoint, CSVLog, Training
from pellucid.training.device import device_name, usable_precision
from pellucid.training.distributed import processes
from pellucid.training.examples import note_resume
from pellucid.training.learner import Learner
from pellucid.training.measures import check_mergeable
from pellucid.training.process import deterministic_kernels
from pellucid.training.progress import ProgressLine
from pellucid.training.reading import Augmentation
from pellucid.training.reducer import BUCKET_MB
from pellucid.training.settings import training_settings
from pellucid.training.shard_loaders import shards_of_process
from pellucid.training.user_defined import check_hooks, check_saves

BATCH_NORMS = "shard", "local", "sync"


@dataclass(frozen=True)
class FitPlan:
    """A training of a model: its data, and how long and with what to train.

    callbacks, folder: of the first process of a training; others have none. shards: the number of parts of each batch,
    in all processes. batch_norm: "shard", "local" or "sync"; this, bucket_mb, shard_optimizer: see
    FitArguments.
    """

    data: Source
    validation: Source | None
    epochs: int
    batch_size: int
    augment: Augmentation | None
    callbacks: Sequence[Callback]
    folder: RunFolder | None
    settings: Mapping[str, Any]  # must be the same in a resumed training
    checkpoint_seconds: float
    shards: int = 1
    batch_norm: str = "shard"
    bucket_mb: float = BUCKET_MB
    shard_optimizer: bool = False


@dataclass
class FitArguments:
    """The arguments of `fit` besides the data, see `Model.fit`; raises PellucidError for invalid ones.

    accumulate, shards: the number of parts of a batch in each process, and in all. exact: whether the result is the
    same for any number of processes; if not, each computes its part of a batch at once. batch_norm: its statistics in
    training are those of each "shard", or without `exact` those of a process's part, "local", or of the whole batch,
    "sync"; by default "shard" or "local". bucket_mb: the megabytes of gradients that processes exchange at once, while
    the backward pass goes on. shard_optimizer: whether each process keeps only its part of the optimizer's state, which
    takes a further exchange. These two change no bits.
    """

    epochs: int
    batch_size: int
    augment: Augmentation | None
    callbacks: Sequence[Callback]
    run: str | os.PathLike[str] | None
    resume: bool
    monitor: str
    checkpoint_seconds: float
    manifest: Mapping[str, Any] | None
    verbose: bool
    accumulate: int
    shards: int | None
    exact: bool
    batch_norm: str
    bucket_mb: float
    shard_optimizer: bool

    def __post_init__(self) -> None:
        """Raise PellucidError for an invalid argument."""
        self.epochs = integer(self.epochs, "fit: epochs", 1)
        self.batch_size = integer(self.batch_size, "fit: batch_size", 1)
        self.accumulate = integer(self.accumulate, "fit: accumulate", 1)
        if self.shards is not None:
            self.shards = integer(self.shards, "fit: shards", 1)
            if self.accumulate > 1:
                raise PellucidError(
                    "fit: accumulate is the number of shards in one process, shards that in all; give one"
                )
        self.exact = boolean(self.exact, "fit: exact")
        self.batch_norm = self.batch_norm or ("shard" if self.exact else "local")
        check(self.batch_norm in BATCH_NORMS, "fit: batch_norm", f"one of {', '.join(BATCH_NORMS)}", self.batch_norm)
        if self.exact and self.batch_norm != "shard":
            raise PellucidError(
                f"fit: with batch_norm={self.batch_norm!r}, the bits depend on the number of processes; give "
                "exact=False, or batch_norm='shard'"
            )
        if not self.exact and (self.batch_norm == "shard" or self.shards is not None or self.accumulate > 1):
            raise PellucidError(
                "fit: with exact=False, each process computes its part of a batch at once; leave out shards and "
                "accumulate, and give batch_norm='local' or 'sync'"
            )
        self.shard_optimizer = boolean(self.shard_optimizer, "fit: shard_optimizer")
        check_above_zero("fit", 10**6, bucket_mb=self.bucket_mb)
        self.callbacks = instances(self.callbacks, Callback, "fit: callbacks")
        if self.augment is not None and (isinstance(self.augment, type) or not callable(self.augment)):
            raise PellucidError(f"fit: augment must be a function (batch, rng) -> batch, not {shown(self.augment)}")

    def check(self, schedule: Schedule, validated: bool) -> None:
        """Raise PellucidError for callbacks and a schedule that need validation data, unless `validated`."""
        for callback in self.callbacks:
            check_hooks(callback)
            callback.check(validated)
        if schedule.watches and not validated:
            name = type(schedule).__name__
            raise PellucidError(f"fit: {name} needs the validation loss; give validation, or another schedule")

    @contextmanager
    def preparing_plan(
        self, model: Learner, preprocess: Mapping[str, Any], data: Source, held_out: Source | None
    ) -> Generator[FitPlan, None, None]:
        """Yield the plan; within the context, the run folder is locked, if there is one."""
        epochs, batch_size, callbacks = self.epochs, self.batch_size, [*self.callbacks]
        process_group = processes()
        if process_group.count > 1:
            if model.device.type not in ("cpu", "cuda"):
                raise PellucidError(f"fit: many processes train on CPUs or on cuda devices, not on {model.device}")
            if model.device.type == "cuda":
                torch.cuda.set_device(model.device)  # otherwise each process takes memory on the first GPU, too
            check_mergeable(model.metrics)
        run = None if self.run is None else RunFolder(self.run)
        shards = process_group.count
        if self.exact:
            shards = (
                self.shards
                or process_group.from_first(lambda: shards_of_run(run))
                or self.accumulate * process_group.count
            )
            shards_of_process(process_group, shards)  # one shard, too, whose training does not divide its batches
        division = {"shards": shards} if self.exact else {"batch norm": self.batch_norm}
        settings = training_settings(model, preprocess, data, held_out, epochs, batch_size, self.augment, division)
        folder, callbacks = (run, callbacks) if process_group.is_first else (None, [])
        if folder is not None or any(callback.saves for callback in callbacks):
            check_saves(model, type(model))
        progress = [ProgressLine()] if boolean(self.verbose, "fit: verbose") and process_group.is_first else []
        with ExitStack() as stack:
            if self.exact and shards > 1 and model.device.type == "cuda":
                stack.enter_context(deterministic_kernels())
            if folder is not None:
                manifest = self._manifest(stack.enter_context(folder), model, data, held_out, shards)
                best_checkpoint = Checkpoint(
                    folder.best, "" if self.monitor == "auto" and held_out is None else self.monitor
                )
                callbacks += [best_checkpoint, CSVLog(folder.metrics, folder.layers), manifest]
            callbacks += progress
            seconds = self.checkpoint_seconds
            sharding = shards, self.batch_norm, self.bucket_mb, self.shard_optimizer
            yield FitPlan(
                data, held_out, epochs, batch_size, self.augment, callbacks, folder, settings, seconds, *sharding
            )

    def _manifest(
        self, folder: RunFolder, model: Learner, data: Source, held_out: Source | None, shards: int
    ) -> "_ManifestWriter":
        """Return the callback for the manifest; PellucidError for a folder whose training is not to be resumed."""
        if folder.has_checkpoint and not self.resume:
            raise PellucidError(f"{folder.path} has a training already; resume it, or choose another run folder")
        if folder.manifest.exists():
            folder.read_manifest()  # raises PellucidError for a damaged one, before anything is written
        note_resume(data)
        checksums = {"train": data.checksum} | ({} if held_out is None else {"validation": held_out.checksum})
        manifest_values = {
            "precision": usable_precision(model.precision, model.device)[0],
            "device": device_name(model.device),
        }
        manifest_values |= {"shards": shards} if self.exact and shards > 1 else {}
        return _ManifestWriter(folder, checksums, {**manifest_values, **(self.manifest or {})})


class _ManifestWriter(Callback):
    """Write the manifest of a run folder when the training begins or is resumed."""

    def __init__(self, folder: RunFolder, checksums: Mapping[str, str], values: Mapping[str, Any]) -> None:
        self.folder = folder
        self.checksums = checksums
        self.values = values

    def on_start(self, training: Training) -> None:
        """Write the manifest."""
        self.folder.write_manifest(training.model.seed, self.checksums, self.values)


def shards_of_run(run: RunFolder | None) -> int:
    """Return the number of shards with which a training was begun that has a checkpoint; 0 for none."""
    if run is None or not run.has_checkpoint or not run.manifest.is_file():
        return 0
    return integer(run.read_manifest().get("shards", 1), f"{run.manifest}: shards", 1)
