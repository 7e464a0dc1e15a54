"""The options of a training: the arguments of `fit` besides the data."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import boolean, check, check_above_zero, instances, integer
from pellucid.base.text import shown
from pellucid.optim import Schedule
from pellucid.training.callbacks import Callback
from pellucid.training.reading import Augmentation
from pellucid.training.user_defined import check_hooks

BATCH_NORMS = "shard", "local", "sync"


@dataclass(frozen=True)
class FitOptions:
    """The arguments of `Model.fit` besides the data."""

    epochs: int
    batch_size: int  # examples in a batch of all processes
    augment: Augmentation | None  # a function (batch, rng) -> batch
    callbacks: Sequence[Callback]
    run: str | os.PathLike[str] | None  # the run folder to write
    resume: bool  # whether to continue from the run folder's last checkpoint
    monitor: str  # the column of the history that selects the best weights, "" for the last weights
    checkpoint_seconds: float  # seconds between checkpoints
    manifest: Mapping[str, Any] | None  # values for manifest.json
    verbose: bool  # whether to show progress
    accumulate: int  # parts of a batch in each process
    shards: int | None  # parts of a batch in all processes
    exact: bool  # whether the bits are the same for any number of processes; if not, each computes its part at once
    # The statistics of batch norm in training: of each "shard", or without `exact` of a process's part, "local", or of
    # the whole batch, "sync"; "" for "shard" or "local".
    batch_norm: str
    bucket_mb: float  # gradients exchanged at once while the backward pass goes on, in megabytes; changes no bits
    # Whether each process keeps only its part of the optimizer's state, with one more exchange; changes no bits.
    shard_optimizer: bool

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> "FitOptions":
        """Return the checked options among the arguments of `fit`, by name; raises PellucidError for invalid ones."""
        return cls(**{field.name: arguments[field.name] for field in fields(cls)}).checked()

    def checked(self) -> "FitOptions":
        """Return the options with plain types and no defaults left; raises PellucidError for invalid ones."""
        exact = boolean(self.exact, "fit: exact")
        options = replace(
            self,
            epochs=integer(self.epochs, "fit: epochs", 1),
            batch_size=integer(self.batch_size, "fit: batch_size", 1),
            callbacks=instances(self.callbacks, Callback, "fit: callbacks"),
            verbose=boolean(self.verbose, "fit: verbose"),
            accumulate=integer(self.accumulate, "fit: accumulate", 1),
            shards=None if self.shards is None else integer(self.shards, "fit: shards", 1),
            exact=exact,
            batch_norm=self.batch_norm or ("shard" if exact else "local"),
            shard_optimizer=boolean(self.shard_optimizer, "fit: shard_optimizer"),
        )
        options._check_division()
        check_above_zero("fit", 10**6, bucket_mb=self.bucket_mb)
        if self.augment is not None and (isinstance(self.augment, type) or not callable(self.augment)):
            raise PellucidError(f"fit: augment must be a function (batch, rng) -> batch, not {shown(self.augment)}")
        return options

    def _check_division(self) -> None:
        """Raise PellucidError for options of the division of batches that exclude each other."""
        if self.shards is not None and self.accumulate > 1:
            raise PellucidError("fit: accumulate is the number of shards in one process, shards that in all; give one")
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

    def check_validation(self, schedule: Schedule, has_validation: bool) -> None:
        """Raise PellucidError for callbacks and a schedule that need validation data if there are none."""
        for callback in self.callbacks:
            check_hooks(callback)
            callback.check(has_validation)
        if schedule.watches and not has_validation:
            name = type(schedule).__name__
            raise PellucidError(f"fit: {name} needs the validation loss; give validation, or another schedule")
