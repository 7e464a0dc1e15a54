"""After what a scheduler is stepped: schedules of steps and of epochs, and the note for those that are not said."""

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from tests.opening.torch_training.loops import Parts, check_equal
from tests.opening.torch_training.test_generated import BY_BATCH, SCHEDULERS
from tests.opening.torch_training.test_given_back import loader

STEPS = 12  # of 3 epochs


def warmed_up(step: int) -> float:
    return (step + 1) / 4 if step < 4 else 0.5 * (1 + math.cos(math.pi * (step - 4) / (STEPS - 4)))


BY_STEP: dict[str, Any] = {
    "warm-up and cosine": lambda optimizer: lr_scheduler.LambdaLR(optimizer, warmed_up),
    "cosine": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, STEPS),
    "warm restarts": lambda optimizer: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 5),
    "linear, then cosine": lambda optimizer: lr_scheduler.SequentialLR(
        optimizer,
        [lr_scheduler.LinearLR(optimizer, 0.1, total_iters=3), lr_scheduler.CosineAnnealingLR(optimizer, STEPS - 3)],
        milestones=[3],
    ),
    "polynomial": lambda optimizer: lr_scheduler.PolynomialLR(optimizer, STEPS, 2.0),
}


def made(make_scheduler: Any, by_batch: bool) -> Parts:
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 4)).double()
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    return Parts(network, nn.CrossEntropyLoss(), optimizer, make_scheduler(optimizer), by_batch)


@pytest.mark.parametrize("by_batch", [True, False])
@pytest.mark.parametrize("name", BY_STEP)
def test_schedules_of_steps_and_of_epochs(name: str, by_batch: bool, capsys: pytest.CaptureFixture[str]) -> None:
    check_equal(lambda: made(BY_STEP[name], by_batch), lambda: (loader(), None), 3)
    assert "steps after each epoch" not in capsys.readouterr().err


@pytest.mark.parametrize("name", [name for name in SCHEDULERS if name != "none"])
def test_a_note_unless_the_scheduler_has_one_usual_step(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    parts = made(SCHEDULERS[name], False)
    parts.taken(loader(), loader(), scheduler_step="auto")
    has_note = "steps after each epoch; give scheduler_step='batch'" in capsys.readouterr().err
    assert has_note == (name not in (*BY_BATCH, "ReduceLROnPlateau"))
