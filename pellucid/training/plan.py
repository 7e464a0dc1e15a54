"""The plan of a training, made of its options and its data."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import integer
from pellucid.data.source import Source
from pellucid.run.folder import RunFolder
from pellucid.training.callbacks import Callback, Checkpoint, CSVLog, Training
from pellucid.training.device import device_name, usable_precision
from pellucid.training.distributed import processes
from pellucid.training.examples import note_resume
from pellucid.training.learner import Learner
from pellucid.training.measures import check_mergeable
from pellucid.training.options import FitOptions
from pellucid.training.process import deterministic_kernels
from pellucid.training.progress import ProgressLine
from pellucid.training.settings import training_settings
from pellucid.training.shard_loaders import shards_of_process
from pellucid.training.user_defined import check_saves


@dataclass(frozen=True)
class FitPlan:
    """A training of a model: its options, its data, and what this process does in it."""

    options: FitOptions
    data: Source
    validation: Source | None
    callbacks: Sequence[Callback]  # of the first process of a training; others have none
    folder: RunFolder | None  # the run folder, also of the first process alone
    settings: Mapping[str, Any]  # must be the same in a resumed training
    shards: int = 1  # parts of each batch, in all processes


@contextmanager
def preparing_plan(
    options: FitOptions, model: Learner, preprocess: Mapping[str, Any], data: Source, validation: Source | None
) -> Generator[FitPlan, None, None]:
    """Yield the plan of a training; within the context, the run folder is locked, if there is one."""
    process_group = processes()
    if process_group.count > 1:
        _check_processes(model)
    run = None if options.run is None else RunFolder(options.run)
    shards = process_group.count
    division: dict[str, Any] = {"batch norm": options.batch_norm}
    # the bits depend on the number of shards, which a resumed run therefore keeps for any number of processes
    if options.exact:
        shards = (
            options.shards
            or process_group.from_first(lambda: shards_of_run(run))
            or options.accumulate * process_group.count
        )
        shards_of_process(process_group, shards)  # one shard, too, whose training does not divide its batches
        division = {"shards": shards}
    settings = training_settings(
        model, preprocess, data, validation, options.epochs, options.batch_size, options.augment, division
    )
    folder = run if process_group.is_first else None
    callbacks = [*options.callbacks] if process_group.is_first else []
    # before the first step, so that hours of training do not end in a model that cannot be written
    if folder is not None or any(callback.saves for callback in callbacks):
        check_saves(model, type(model))
    with ExitStack() as stack:
        # without deterministic kernels, equal shards would not have equal bits on a GPU
        if options.exact and shards > 1 and model.device.type == "cuda":
            stack.enter_context(deterministic_kernels())
        if folder is not None:
            stack.enter_context(folder)  # locks it
            manifest = _manifest(folder, options, model, data, validation, shards)
            monitor = "" if options.monitor == "auto" and validation is None else options.monitor
            callbacks += [Checkpoint(folder.best, monitor), CSVLog(folder.metrics, folder.layers), manifest]
        if options.verbose and process_group.is_first:
            callbacks.append(ProgressLine())
        yield FitPlan(options, data, validation, callbacks, folder, settings, shards)


def _check_processes(model: Learner) -> None:
    """Select the device of this process, one of many; raises PellucidError for other devices and for some metrics."""
    if model.device.type not in ("cpu", "cuda"):
        raise PellucidError(f"fit: many processes train on CPUs or on cuda devices, not on {model.device}")
    if model.device.type == "cuda":
        torch.cuda.set_device(model.device)  # otherwise each process takes memory on the first GPU, too
    check_mergeable(model.metrics)


def _manifest(
    folder: RunFolder, options: FitOptions, model: Learner, data: Source, validation: Source | None, shards: int
) -> "_ManifestWriter":
    """Return the callback for the manifest; PellucidError for a folder whose training is not to be resumed."""
    if folder.has_checkpoint and not options.resume:
        raise PellucidError(f"{folder.path} has a training already; resume it, or choose another run folder")
    if folder.manifest.exists():
        folder.read_manifest()  # raises PellucidError for a damaged one, before anything is written
    note_resume(data)
    checksums = {"train": data.checksum}
    if validation is not None:
        checksums["validation"] = validation.checksum
    values: dict[str, Any] = {
        "precision": usable_precision(model.precision, model.device)[0],
        "device": device_name(model.device),
    }
    if options.exact and shards > 1:
        values["shards"] = shards
    return _ManifestWriter(folder, checksums, {**values, **(options.manifest or {})})


class _ManifestWriter(Callback):
    """Write the manifest of a run folder when the training begins or is resumed."""

    def __init__(self, folder: RunFolder, checksums: Mapping[str, str], values: Mapping[str, Any]) -> None:
        self.folder = folder
        self.checksums = checksums
        self.values = values

    # not earlier: all checks have passed, and a training that they refuse leaves its folder unchanged
    def on_start(self, training: Training) -> None:
        """Write the manifest."""
        self.folder.write_manifest(training.model.seed, self.checksums, self.values)


def shards_of_run(run: RunFolder | None) -> int:
    """Return the number of shards with which a training was begun that has a checkpoint; 0 for none."""
    if run is None or not run.has_checkpoint or not run.manifest.is_file():
        return 0
    return integer(run.read_manifest().get("shards", 1), f"{run.manifest}: shards", 1)
