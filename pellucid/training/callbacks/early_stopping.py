"""Early stopping."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.run.history import Row
from pellucid.training.arguments import whole
from pellucid.training.callbacks.base import Callback, Training, better, monitored, tensors_of
from pellucid.tree import flatten


class EarlyStopping(Callback):
    """Stop when the monitored column has not improved for `patience` epochs, and end with its best weights.

    monitor: a column of the history; the losses and metrics with `lower_is_better` (mae, rmse, ece) should fall, all
    others rise. "auto" is val_accuracy, else val_loss. min_delta: what counts as an improvement must be larger.
    The best weights are restored at the end of every training, whether or not it stopped early.
    Source: Prechelt 1998, "Early stopping - but when?", the class UP in its simplest form.
    """

    def __init__(self, patience: int, monitor: str = "auto", min_delta: float = 0.0) -> None:
        self.patience = whole(patience, "EarlyStopping: patience", 1)
        self.monitor = monitor
        self.min_delta = min_delta
        self.best: float | None = None
        self.best_epoch = 0
        self._weights: dict[str, Tensor] = {}

    def check(self, validated: bool) -> None:
        """Require validation data for a column that is measured on them."""
        if not validated and (self.monitor == "auto" or self.monitor.startswith("val_")):
            raise PellucidError(
                "EarlyStopping goes by validation data; give fit validation=0.1, or EarlyStopping monitor='train_loss'"
            )

    def on_start(self, training: Training) -> None:
        """Forget an earlier training."""
        if not training.history.rows:
            self.best, self.best_epoch, self._weights = None, 0, {}

    def on_epoch_end(self, training: Training, row: Row) -> None:
        """Keep the weights if they are the best so far; else see whether patience ends."""
        name = monitored(self.monitor, row)
        if better(training, name, row[name], self.best, self.min_delta):
            self.best, self.best_epoch = row[name], training.epoch
            self._weights = {path: tensor.clone() for path, tensor in flatten(training.model.params).items()}
        elif training.epoch - self.best_epoch >= self.patience:
            training.stop = f"{name} has not improved on {self.best:.6g} of epoch {self.best_epoch}"

    def on_end(self, training: Training) -> None:
        """Restore the best weights."""
        for path, tensor in flatten(training.model.params).items():
            if path in self._weights:
                tensor.copy_(self._weights[path])

    def state_dict(self) -> dict[str, Any]:
        """Return the best value, its epoch and its weights."""
        weights = {f"weights.{path}": tensor for path, tensor in self._weights.items()}
        return {"best": self.best, "best_epoch": self.best_epoch, **weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        self._weights = {path: torch.clone(tensor) for path, tensor in tensors_of(state, "weights.").items()}
