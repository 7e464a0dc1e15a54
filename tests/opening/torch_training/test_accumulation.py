"""Gradient accumulation: a step of from_torch for several batches equals that of a loop in PyTorch over 20 steps."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from pellucid.base.errors import PellucidError
from tests.opening.torch_training.loops import Parts, check_equal
from tests.opening.torch_training.test_generated import OPTIMIZERS, SCHEDULERS

EXAMPLES = 40


def network() -> nn.Module:
    # the statistics of batch norm are of each batch, so a step for two batches is not that for one of twice the size
    layers = [nn.Conv2d(1, 3, 3, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4)]
    return nn.Sequential(*layers).double()


def loader(batch: int) -> DataLoader[Any]:
    x = torch.rand(EXAMPLES, 1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    y = torch.randint(0, 4, (EXAMPLES,), generator=torch.Generator().manual_seed(2))
    return DataLoader(TensorDataset(x, y), batch_size=batch)


CASES: dict[str, tuple[str, str, dict[str, Any], int, int]] = {  # optimizer, scheduler, options, examples, epochs
    "two batches": ("SGD", "none", {"accumulated": 2}, 5, 5),
    "the last batch of an epoch alone": ("AdamW, groups", "none", {"accumulated": 3}, 4, 5),
    "scheduler by step": ("momentum", "OneCycleLR", {"accumulated": 2, "by_batch": True}, 5, 5),
    "scheduler by step, the last batches alone": (
        "AdamW", "CyclicLR", {"accumulated": 4, "by_batch": True}, 4, 7,
    ),
    "scheduler by epoch, clipped norm": ("AdamW", "StepLR", {"accumulated": 2, "clip_norm": 0.1}, 5, 5),
    "clipped values": ("Adafactor", "CosineAnnealingLR", {"accumulated": 2, "clip_value": 0.01}, 5, 5),
    "more batches than an epoch has": ("NAdam", "ExponentialLR", {"accumulated": 9}, 10, 20),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # of schedulers that are stepped before the first step of their optimizer
@pytest.mark.parametrize("name", CASES)
def test_steps_for_several_batches_equal_those_of_pytorch(name: str) -> None:
    optimizer_name, scheduler_name, options, batch, epochs = CASES[name]
    make_scheduler = SCHEDULERS[scheduler_name]

    def made() -> Parts:
        model = network()
        optimizer = OPTIMIZERS[optimizer_name](model)
        scheduler = None if make_scheduler is None else make_scheduler(optimizer)
        return Parts(model, nn.CrossEntropyLoss(), optimizer, scheduler, **options)

    training = check_equal(made, lambda: (loader(batch), None), epochs)
    assert training.verify(2).ok


def test_a_number_of_batches_below_one_is_refused() -> None:
    model = network()
    made = Parts(model, nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), lr=0.1), accumulated=0)
    with pytest.raises(PellucidError, match="gradient_accumulation_steps must be a whole number of at least 1"):
        made.taken(loader(5))
