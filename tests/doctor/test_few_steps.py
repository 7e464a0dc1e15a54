"""Trainings of few steps are made with more of them; sound ones and those with another reason are not accused."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import pellucid
from pellucid.doctor import Diagnosis, few_steps


def diagnosed(epochs: int, batch_size: int = 32, lr: float = 3e-3, seed: int = 0, width: int = 48) -> Diagnosis:
    """Return the diagnosis of a training on several labels of sums of features."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(1000, 6, generator=rng)
    y = torch.stack([x[:, :2].prod(1) > 0, x[:, 2:4].sum(1) > 0, x[:, 4].abs() > 0.7], 1).float()
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3))
    parts: dict[str, Any] = {
        name: DataLoader(TensorDataset(x[part], y[part]), batch_size=batch_size, shuffle=name == "train", generator=rng)
        for name, part in (("train", slice(700)), ("validation", slice(700, 1000)))
    }
    optimizer = torch.optim.Adam(network.parameters(), lr)
    training = pellucid.from_torch(network, loss=nn.BCEWithLogitsLoss(), optimizer=optimizer, **parts)
    training.fit(epochs, verbose=False)
    return training.doctor()


@pytest.mark.parametrize(("seed", "width"), [(0, 48), (1, 32)])
def test_too_few_epochs_are_named(seed: int, width: int) -> None:
    assert diagnosed(1, seed=seed, width=width).causes == ("too-few-epochs",)


@pytest.mark.parametrize("batch_size", [350, 700])
def test_batches_that_leave_few_steps_are_named(batch_size: int) -> None:
    finding = diagnosed(10, batch_size).findings[0]
    assert finding.check == "unsuitable-batch-size"
    assert finding.evidence["steps"] == 10 * (700 // batch_size)
    assert finding.settings == {"train.batch_size": 32}


def test_a_low_rate_is_no_lack_of_epochs() -> None:
    assert "too-few-epochs" not in diagnosed(2, lr=3e-5).causes


@pytest.mark.parametrize("seed", [0, 1])
def test_a_training_of_enough_steps_has_no_cause(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(few_steps, "MAX_FEW_STEPS", 1_000)
    assert diagnosed(25, seed=seed).causes == ()
