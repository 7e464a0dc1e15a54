"""The contract of callbacks, and what they see of a training."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from pellucid.calls import Checked
from pellucid.errors import PellucidError, nearest
from pellucid.run.history import History, Row
from pellucid.training.learner import Learner


@dataclass
class Training:
    """Where a training stands: what callbacks see, and may end by setting `stop` to the reason.

    epoch and batch count what is finished, `step` all batches since the beginning. losses are the sums of the running
    epoch's losses by name, each times what its batch counts (`Objective.counted`), `loss_count` the sum of that, and
    `seen` the number of examples. seconds: of the running epoch. lower: the columns of the history that are better when
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
    losses: dict[str, Any] = field(default_factory=dict)
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
    """What may happen around the epochs of a training; nothing does unless a method is overridden.

    A callback that remembers something has `state_dict` and `load_state_dict`, so that a resumed training continues
    exactly. One that writes the model to a file says so by `saves`: what cannot be saved is refused before the first
    step.
    """

    saves: ClassVar[bool] = False

    def check(self, validated: bool) -> None:
        """Raise PellucidError where this cannot serve a training, which has validation data or not."""

    def on_start(self, training: Training) -> None:
        """Run before the first step, also of a resumed training (training.history then has rows)."""

    def on_step(self, training: Training) -> None:
        """Run after every step. Whoever overrides this slows the training of tiny networks down."""

    def on_tick(self, training: Training) -> None:
        """Run a few times each second, after a step."""

    def on_epoch_end(self, training: Training, row: Row) -> None:
        """Run after an epoch, whose row is already the last one of training.history."""

    def on_end(self, training: Training) -> None:
        """Run after the last epoch, before the last checkpoint."""

    def on_close(self) -> None:
        """Run at the very end, also when training stops with an error."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training needs to continue as if nothing had happened: tensors and JSON values.

        Who overrides this must be given to the resumed training too; the others change nothing and may be left out.
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
