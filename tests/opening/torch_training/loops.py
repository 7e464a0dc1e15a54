"""A training in PyTorch and the same training taken by from_torch, side by side."""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import pellucid
from pellucid.opening.torch_training import TorchTraining

STEPS_AGREE = 1e-9  # largest difference of weights and states in float64, relative to the largest value of a tensor


@dataclass
class Parts:
    """What a script makes: network, criterion, optimizer, scheduler or None, and arguments of from_torch."""

    network: nn.Module
    criterion: Any
    optimizer: torch.optim.Optimizer
    scheduler: Any = None
    by_batch: bool = False
    clip_norm: float | None = None
    clip_value: float | None = None
    accumulated: int = 1  # batches for a step

    def loop(self, loader: Iterable[Any], epochs: int, validation: Iterable[Any] = ()) -> list[float]:
        """Train as the usual loop in PyTorch does, and return the losses."""
        losses: list[float] = []
        for _ in range(epochs):
            self.network.train()
            batches = [*loader]
            self.optimizer.zero_grad()
            for number, (x, y) in enumerate(batches, 1):
                loss = self.criterion(self.network(x), y)
                (loss / self.accumulated).backward()
                losses.append(loss.item())
                if number % self.accumulated and number < len(batches):
                    continue
                if self.clip_norm is not None:
                    nn.utils.clip_grad_norm_(self.network.parameters(), self.clip_norm)
                if self.clip_value is not None:
                    nn.utils.clip_grad_value_(self.network.parameters(), self.clip_value)
                self.optimizer.step()
                self.optimizer.zero_grad()
                if self.scheduler is not None and self.by_batch:
                    self.scheduler.step()
            if self.scheduler is not None and not self.by_batch:
                watches = isinstance(self.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
                self.scheduler.step(*((self.validation_loss(validation),) if watches else ()))
        return losses

    def validation_loss(self, validation: Iterable[Any]) -> float:
        self.network.eval()
        with torch.no_grad():
            sums = [(float(self.criterion(self.network(x), y)) * len(x), len(x)) for x, y in validation]
        return sum(total for total, _ in sums) / sum(count for _, count in sums)

    def taken(self, loader: Any, validation: Any = None, **options: Any) -> TorchTraining:
        options.setdefault("scheduler_step", "batch" if self.by_batch else "epoch")
        return pellucid.from_torch(
            self.network,
            loss=self.criterion,
            optimizer=self.optimizer,
            scheduler=self.scheduler,
            clip_norm=self.clip_norm,
            clip_value=self.clip_value,
            gradient_accumulation_steps=self.accumulated,
            train=loader,
            validation=validation,
            **options,
        )

    def states(self) -> dict[str, Tensor]:
        """Return weights, statistics, the optimizer's state and its numbers as tensors by name."""
        tensors = dict(self.network.state_dict())
        description = self.optimizer.state_dict()
        for number, state in description["state"].items():
            assert all(isinstance(value, Tensor) for value in state.values())
            tensors |= {f"state {number} {name}": value for name, value in state.items()}
        for number, group in enumerate(description["param_groups"]):
            for name in group.keys() & {"lr", "momentum", "betas", "weight_decay", "max_lr", "initial_lr"}:
                tensors[f"group {number} {name}"] = torch.tensor(group[name], dtype=torch.float64)
        if self.scheduler is not None:
            tensors["last epoch"] = torch.tensor(getattr(self.scheduler, "last_epoch", 0))
        return tensors


def assert_equal(actual: Parts, expected: Parts) -> None:
    tensors, references = actual.states(), expected.states()
    assert sorted(tensors) == sorted(references)
    for name, tensor in tensors.items():
        reference = references[name].double()
        largest = max(float(reference.abs().max()), 1e-3) if reference.numel() else 1.0
        difference = (tensor.double() - reference).abs().max() if reference.numel() else 0.0
        assert float(difference) <= STEPS_AGREE * largest, name


def check_equal(
    make: Callable[[], Parts],
    loaders: Callable[[], tuple[Any, Any]],
    epochs: int,
    run: Callable[[Parts, Any, int, Any], Any] = Parts.loop,
    **options: Any,
) -> TorchTraining:
    """Check a training of from_torch beside PyTorch's: the losses, all states given back, and one epoch after that."""
    torch.manual_seed(0)
    ours = make()
    torch.manual_seed(0)
    theirs = make()
    (our_loader, our_validation), (loader, validation) = loaders(), loaders()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of schedulers, which are stepped before the first step of an optimizer
        training = ours.taken(our_loader, our_validation, **options)
        assert_equal(ours, theirs)  # nothing changed by taking it
        training.fit(epochs, verbose=False)
        run(theirs, loader, epochs, validation)
        assert_equal(ours, theirs)
        run(ours, our_loader, 1, our_validation)  # the next steps in PyTorch are those of the uninterrupted training
        run(theirs, loader, 1, validation)
        assert_equal(ours, theirs)
    return training
