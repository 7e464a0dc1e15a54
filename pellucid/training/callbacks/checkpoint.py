"""The best weights of a training as a file."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pellucid.run.history import Row
from pellucid.training.callbacks.base import Callback, Training, better, monitored


class Checkpoint(Callback):
    """Write the model to `path` whenever the monitored column improves; what `Model.load` reads.

    monitor: as in EarlyStopping; "" writes only the last weights, at the end. The file is replaced as a whole, so
    there is always a good one. Resuming needs a run folder instead: `fit(run=...)`.
    """

    saves: ClassVar[bool] = True

    def __init__(self, path: str | os.PathLike[str], monitor: str = "auto") -> None:
        self.path = Path(path)
        self.monitor = monitor
        self.best: float | None = None
        self.best_epoch = 0

    def on_start(self, training: Training) -> None:
        """Forget an earlier training."""
        if not training.history.rows:
            self.best, self.best_epoch = None, 0

    def on_epoch_end(self, training: Training, row: Row) -> None:
        """Write the weights if they are the best so far."""
        if not self.monitor:
            return
        name = monitored(self.monitor, row)
        if better(training, name, row[name], self.best):
            self.best, self.best_epoch = row[name], training.epoch
            training.model.save(self.path)

    def on_end(self, training: Training) -> None:
        """Write the last weights if nothing chooses among them."""
        if not self.monitor:
            training.model.save(self.path)

    def state_dict(self) -> dict[str, Any]:
        """Return the best value and its epoch."""
        return {"best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.best, self.best_epoch = state["best"], state["best_epoch"]
