"""20 steps of from_torch equal PyTorch's for generated combinations of losses, optimizers and schedulers."""

import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

from tests.opening.torch_training.loops import Parts, check_equal

N = 24
BATCH = 6
EPOCHS = 5  # of 4 steps, so 20 steps
CLASSES = 4
BY_BATCH = ("OneCycleLR", "CyclicLR")


def rng(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def labels() -> Tensor:
    return torch.randint(0, CLASSES, (N,), generator=rng())


def ignored_labels() -> Tensor:
    return torch.where(torch.arange(N) % 5 == 0, -100, labels())


def fractions() -> Tensor:
    return torch.rand(N, CLASSES, dtype=torch.float64, generator=rng())


def bits() -> Tensor:
    return (fractions() > 0.5).double()


def values() -> Tensor:
    return torch.randn(N, CLASSES, dtype=torch.float64, generator=rng())


def weight() -> Tensor:
    return torch.tensor([0.5, 2.0, 1.0, 0.25], dtype=torch.float64)


class FocalLoss(nn.Module):
    """Lin et al. 2017, equation 4, as people write it."""

    def forward(self, y: Tensor, target: Tensor) -> Tensor:
        cross_entropy = nn.functional.cross_entropy(y, target, reduction="none")
        return ((1 - torch.exp(-cross_entropy)) ** 2 * cross_entropy).mean()


def dice_and_cross_entropy(y: Tensor, target: Tensor) -> Tensor:
    p = y.sigmoid()
    dice = 1 - (2 * (p * target).sum(0) + 1) / (p.sum(0) + target.sum(0) + 1)
    return nn.functional.binary_cross_entropy_with_logits(y, target) + dice.mean()


Targets = Callable[[], Tensor]
LOSSES: dict[str, tuple[Callable[[], Any], Targets, nn.Module | None]] = {
    "cross entropy": (nn.CrossEntropyLoss, labels, None),
    "function": (lambda: nn.functional.cross_entropy, labels, None),
    "class weights": (lambda: nn.CrossEntropyLoss(weight=weight()), labels, None),
    "smoothing": (lambda: nn.CrossEntropyLoss(label_smoothing=0.1), labels, None),
    "smoothing, weights, ignored": (
        lambda: nn.CrossEntropyLoss(weight=weight(), label_smoothing=0.2), ignored_labels, None,
    ),
    "ignored": (lambda: nn.CrossEntropyLoss(ignore_index=1), labels, None),
    "sum": (lambda: nn.CrossEntropyLoss(reduction="sum"), labels, None),
    "soft targets": (nn.CrossEntropyLoss, lambda: fractions().softmax(1), None),
    "nll": (lambda: nn.NLLLoss(weight=weight()), labels, nn.LogSoftmax(1)),
    "bce with logits": (nn.BCEWithLogitsLoss, bits, None),
    "bce, pos_weight": (lambda: nn.BCEWithLogitsLoss(pos_weight=weight(), reduction="sum"), fractions, None),
    "bce, weight": (lambda: nn.BCEWithLogitsLoss(weight=weight()), bits, None),
    "bce of probabilities": (lambda: nn.BCELoss(weight=weight()), fractions, nn.Sigmoid()),
    "mse": (nn.MSELoss, values, None),
    "mse, sum": (lambda: nn.MSELoss(reduction="sum"), values, None),
    "l1": (nn.L1Loss, values, None),
    "smooth l1": (lambda: nn.SmoothL1Loss(beta=0.3), values, None),
    "huber": (lambda: nn.HuberLoss(delta=0.4), values, None),
    "multi margin": (lambda: nn.MultiMarginLoss(margin=0.8), labels, None),
    "multi margin, weights": (lambda: nn.MultiMarginLoss(weight=weight()), labels, None),
    "multi margin, squares": (lambda: nn.MultiMarginLoss(p=2), labels, None),
    "focal": (FocalLoss, labels, None),
    "dice and cross-entropy": (lambda: dice_and_cross_entropy, bits, None),
    "poisson": (nn.PoissonNLLLoss, fractions, None),
    "multilabel soft margin": (lambda: nn.MultiLabelSoftMarginLoss(weight=weight()), bits, None),
}  # fmt: skip


def groups(network: nn.Module) -> list[dict[str, Any]]:
    """Return weights and other parameters in groups of their own, as is usual for weight decay."""
    weights = [parameter for parameter in network.parameters() if parameter.dim() > 1]
    others = [parameter for parameter in network.parameters() if parameter.dim() < 2]
    return [{"params": weights, "weight_decay": 0.05}, {"params": others, "lr": 0.003}]


OPTIMIZERS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "SGD": lambda net: torch.optim.SGD(net.parameters(), lr=0.05),
    "momentum": lambda net: torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9, dampening=0.2, weight_decay=1e-2),
    "nesterov": lambda net: torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9, nesterov=True),
    "Adam": lambda net: torch.optim.Adam(net.parameters(), lr=0.01, betas=(0.8, 0.95), weight_decay=1e-2),
    "amsgrad": lambda net: torch.optim.Adam(net.parameters(), lr=0.01, amsgrad=True, maximize=False),
    "AdamW": lambda net: torch.optim.AdamW(net.parameters(), lr=0.01),
    "AdamW, groups": lambda net: torch.optim.AdamW(groups(net), lr=0.01),
    "SGD, groups": lambda net: torch.optim.SGD(groups(net), lr=0.02, momentum=0.5),
    "RMSprop": lambda net: torch.optim.RMSprop(net.parameters(), lr=0.005, momentum=0.3, centered=True),
    "Adagrad": lambda net: torch.optim.Adagrad(net.parameters(), lr=0.02, lr_decay=0.01),
    "Adadelta": lambda net: torch.optim.Adadelta(net.parameters(), lr=0.5),
    "Adamax": lambda net: torch.optim.Adamax(net.parameters(), lr=0.01),
    "NAdam": lambda net: torch.optim.NAdam(net.parameters(), lr=0.01),
    "RAdam": lambda net: torch.optim.RAdam(net.parameters(), lr=0.01),
    "ASGD": lambda net: torch.optim.ASGD(net.parameters(), lr=0.02, t0=3),
    "Rprop": lambda net: torch.optim.Rprop(net.parameters(), lr=0.005),
    "Adafactor": lambda net: torch.optim.Adafactor(net.parameters(), lr=0.02),
    "single loop": lambda net: torch.optim.AdamW(net.parameters(), lr=0.01, foreach=False),
}

Make = Callable[[torch.optim.Optimizer], Any]


def one_cycle(optimizer: torch.optim.Optimizer) -> Any:
    has_momentum = any(name in optimizer.defaults for name in ("momentum", "betas"))
    return lr_scheduler.OneCycleLR(optimizer, max_lr=0.05, total_steps=60, cycle_momentum=has_momentum)


SCHEDULERS: dict[str, Make | None] = {
    "none": None,
    "StepLR": lambda optimizer: lr_scheduler.StepLR(optimizer, 2, 0.5),
    "MultiStepLR": lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [1, 3], 0.3),
    "ExponentialLR": lambda optimizer: lr_scheduler.ExponentialLR(optimizer, 0.8),
    "CosineAnnealingLR": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 6, eta_min=1e-3),
    "OneCycleLR": one_cycle,
    "CyclicLR": lambda optimizer: lr_scheduler.CyclicLR(optimizer, 1e-3, 0.02, step_size_up=5, cycle_momentum=False),
    "LambdaLR": lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda epoch: min(1.0, epoch / 3)),
    "LambdaLR by group": lambda optimizer: lr_scheduler.LambdaLR(
        optimizer, [lambda epoch, k=k: 0.9 ** (epoch * (k + 1)) for k in range(len(optimizer.param_groups))]
    ),
    "LinearLR": lambda optimizer: lr_scheduler.LinearLR(optimizer, 0.1, total_iters=4),
    "SequentialLR": lambda optimizer: lr_scheduler.SequentialLR(
        optimizer,
        [lr_scheduler.LinearLR(optimizer, 0.2, total_iters=2), lr_scheduler.CosineAnnealingLR(optimizer, 4)],
        milestones=[2],
    ),
    "ChainedScheduler": lambda optimizer: lr_scheduler.ChainedScheduler(
        [lr_scheduler.ConstantLR(optimizer, 0.5, 2), lr_scheduler.ExponentialLR(optimizer, 0.9)]
    ),
    "CosineAnnealingWarmRestarts": lambda optimizer: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 3),
    "PolynomialLR": lambda optimizer: lr_scheduler.PolynomialLR(optimizer, 8, 2.0),
    "ReduceLROnPlateau": lambda optimizer: lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.4, patience=0, min_lr=2e-3
    ),
}  # fmt: skip


def check(loss_name: str, optimizer_name: str, scheduler_name: str) -> None:
    criterion, targets, ending = LOSSES[loss_name]
    x = torch.rand(N, 1, 6, 6, dtype=torch.float64, generator=rng(1))
    dataset = TensorDataset(x, targets())

    def make() -> Parts:
        layers = [nn.Conv2d(1, 3, 3, bias=False), nn.BatchNorm2d(3), nn.Tanh(), nn.Flatten(), nn.Linear(48, CLASSES)]
        network = nn.Sequential(*layers, *([] if ending is None else [ending])).double()
        optimizer = OPTIMIZERS[optimizer_name](network)
        make_scheduler = SCHEDULERS[scheduler_name]
        scheduler = None if make_scheduler is None else make_scheduler(optimizer)
        return Parts(network, criterion(), optimizer, scheduler, scheduler_name in BY_BATCH)

    def loaders() -> tuple[Any, Any]:
        shuffled = DataLoader(dataset, BATCH, shuffle=True, generator=rng(5))
        return shuffled, DataLoader(dataset, N)

    check_equal(make, loaders, EPOCHS)


def pairs() -> list[tuple[str, str, str]]:
    """Return combinations in which every loss, optimizer and scheduler occurs, each with several others."""
    losses, optimizers, schedulers = list(LOSSES), list(OPTIMIZERS), list(SCHEDULERS)
    return [
        (losses[k % len(losses)], optimizers[(k + k // 25) % len(optimizers)], schedulers[k % len(schedulers)])
        for k in range(50)
    ]


@pytest.mark.parametrize("names", pairs(), ids=str)
def test_20_steps_equal_pytorch(names: tuple[str, str, str]) -> None:
    check(*names)


def drawn(count: int) -> list[tuple[str, ...]]:
    """Return some of all combinations, drawn at random."""
    return random.Random(0).sample([*itertools.product(LOSSES, OPTIMIZERS, SCHEDULERS)], count)


@pytest.mark.long
@pytest.mark.parametrize("names", drawn(300), ids=str)
def test_20_steps_of_drawn_combinations_equal_pytorch(names: tuple[str, str, str]) -> None:
    check(*names)
