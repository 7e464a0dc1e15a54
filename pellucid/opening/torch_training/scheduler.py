"""Schedulers of PyTorch as schedules of this library: a copy of the scheduler makes the same steps."""

import copy
import math
import warnings
from dataclasses import dataclass
from typing import Any, Literal

import torch

from pellucid.base.errors import PellucidError
from pellucid.base.text import note
from pellucid.optim import Progress, Schedule
from pellucid.optim.schedules import Memory
from pellucid.training.callbacks import Training

Settings = dict[str, Any]  # the hyperparameters of a group of parameters
# Schedulers that are stepped after every batch, as their documentation shows; for others, it depends on the loop.
STEPPED_BY_BATCH = ("OneCycleLR", "CyclicLR")


class GroupRates(float):
    """A factor of the learning rate, or a learning rate, that also carries the settings of each group.

    The value is that of the first group. A product with a number is again a GroupRates: `scale` is the product of all
    numbers it was multiplied by, which is `reference` if the training is the user's.
    """

    # a float, since the steps of this library take one number: every scheduler of PyTorch is thus exact, also one that
    # changes the momentum or each group differently
    groups: list[Settings]
    reference: float  # the optimizer's learning rate, by which the factor is to be multiplied
    scale: float

    def __new__(cls, value: float, groups: list[Settings], reference: float, scale: float = 1.0) -> "GroupRates":
        """Return the value with the settings of the groups."""
        rates = super().__new__(cls, value)
        rates.groups = groups
        rates.reference = reference
        rates.scale = scale
        return rates

    def __mul__(self, other: float) -> "GroupRates":
        """Return the product with a number."""
        return GroupRates(float(self) * other, self.groups, self.reference, self.scale * other)

    __rmul__ = __mul__


class TorchScheduler:
    """Copies of a scheduler of PyTorch, from which the settings of the groups after any number of steps are read.

    optimizer: the scheduler's, without parameters. reference: the learning rate whose factor a schedule is.
    """

    def __init__(self, scheduler: Any, user_optimizer: torch.optim.Optimizer, optimizer: torch.optim.Optimizer) -> None:
        # the copy belongs to the optimizer without parameters, so that no weights are copied
        self.start = _copy(scheduler, user_optimizer, optimizer)
        self.start_optimizer = optimizer
        self.name = type(scheduler).__name__
        self.watches = isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
        first_group = optimizer.param_groups[0]
        rates = (first_group.get("max_lr"), first_group.get("initial_lr"), first_group["lr"])
        self.reference = next((float(rate) for rate in rates if rate), 0.0)
        self._restart()

    def __repr__(self) -> str:
        """Return the class and the state, which a resumed training must share."""
        state = {name: value for name, value in self.start.state_dict().items() if not name.startswith("_")}
        return f"{self.name}({state})"

    def after(self, n_steps: int, losses: tuple[float, ...] = ()) -> "tuple[Any, torch.optim.Optimizer]":
        """Return the scheduler and its optimizer after `n_steps`, or after one with each of these losses.

        The result is valid until the next call.
        """
        if n_steps < self._count or losses[: self._count] != self._losses[: self._count]:
            self._restart()
        while self._count < n_steps:
            arguments = (losses[self._count],) if self.watches else ()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of an order of calls; the copy's optimizer makes no steps
                try:
                    self._current.step(*arguments)
                except ValueError as error:  # of OneCycleLR after its last step
                    raise PellucidError(
                        f"{self.name} ends after {self._count} steps ({error}); give fewer epochs, or a longer schedule"
                    ) from error
            self._count += 1
        self._losses = losses
        return self._current, self._optimizer

    def _restart(self) -> None:
        self._optimizer = copy.copy(self.start_optimizer)
        self._optimizer.param_groups = copy.deepcopy(self.start_optimizer.param_groups)
        self._current = _copy(self.start, self.start_optimizer, self._optimizer)
        self._count = 0
        self._losses: tuple[float, ...] = ()


@dataclass(frozen=True)
class TorchSchedule(Schedule):
    """A scheduler of PyTorch, stepped after every step of the optimizer ("step") or after every epoch ("epoch").

    batches: the number of batches of which a step adds the gradients.
    """

    source: TorchScheduler
    stepped: Literal["step", "epoch"]
    batches: int = 1

    @property
    def watches(self) -> bool:
        """Whether the scheduler takes the validation loss."""
        return self.source.watches

    def begin(self) -> Memory:
        """Return the losses of the epochs so far: none."""
        return {}

    def steps(self, now: Progress) -> int:
        """Return the number of the scheduler's steps before the next update."""
        epochs = now.step // now.epoch_steps
        if self.stepped == "epoch":
            return epochs
        return epochs * math.ceil(now.epoch_steps / self.batches) + now.step % now.epoch_steps // self.batches

    def factor(self, now: Progress, memory: Memory) -> float:
        """Return the factor of the first group's rate, with the settings of all groups."""
        losses = tuple(memory.values())
        n_steps = len(losses) if self.source.watches else self.steps(now)
        _, optimizer = self.source.after(n_steps, losses)
        groups = [dict(group) for group in optimizer.param_groups]
        reference = self.source.reference
        return GroupRates(groups[0]["lr"] / reference, groups, reference)

    def after(self, training: Training) -> "tuple[Any, torch.optim.Optimizer]":
        """Return the scheduler after the finished steps or epochs of a training, and its optimizer."""
        if self.source.watches:
            losses = tuple(row["val_loss"] for row in training.history.rows)
            return self.source.after(len(losses), losses)
        return self.source.after(self.steps(training.progress) if self.stepped == "step" else training.epoch)

    def observe(self, memory: Memory, loss: float) -> Memory:
        """Return the losses with that of another epoch, which the scheduler is given."""
        return {**memory, f"epoch {len(memory) + 1}": loss}


def check_scheduler(scheduler: Any, optimizer: torch.optim.Optimizer) -> None:
    """Raise PellucidError for anything but a scheduler of this optimizer whose steps can be repeated."""
    plateau_class = torch.optim.lr_scheduler.ReduceLROnPlateau
    name = type(scheduler).__name__
    if not isinstance(scheduler, torch.optim.lr_scheduler.LRScheduler | plateau_class):
        raise PellucidError(f"from_torch: scheduler must be one of torch.optim.lr_scheduler, not {name}")
    if scheduler.optimizer is not optimizer:
        raise PellucidError(f"from_torch: the {name} changes another optimizer; give the one that it was made with")
    if getattr(scheduler, "mode", "min") != "min" and isinstance(scheduler, plateau_class):
        raise PellucidError(
            f"from_torch: {name} with mode={scheduler.mode!r} watches a metric, and it is given the validation loss "
            "here; make it with mode='min'"
        )


def step_of(scheduler: Any) -> Literal["batch", "epoch"]:
    """Return after which of them a scheduler is stepped, with a note if loops do either."""
    if type(scheduler).__name__ in STEPPED_BY_BATCH:
        return "batch"
    if scheduler is not None and not isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        note(
            f"from_torch: the {type(scheduler).__name__} steps after each epoch; give scheduler_step='batch' if your "
            "loop steps it after each step of the optimizer, else scheduler_step='epoch'"
        )
    return "epoch"


def _copy(scheduler: Any, old: torch.optim.Optimizer, new: torch.optim.Optimizer) -> Any:
    """Return a copy of a scheduler that changes the optimizer `new` instead of `old`."""
    return copy.deepcopy(scheduler, {id(old): new})
