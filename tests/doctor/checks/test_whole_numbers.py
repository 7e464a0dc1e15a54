"""Integers that are numbers to be told, not classes."""

from collections.abc import Callable

import pytest
import torch

from pellucid.combine import Sequential
from pellucid.doctor import Case, case_of, diagnose
from pellucid.doctor.checks import class_imbalance, overfitting, shifted_labels, shuffled_labels, underfitting
from pellucid.layers import Dense
from pellucid.model import Model
from pellucid.optim import Adam

ABOUT_CLASSES = {"class-imbalance", "shuffled-labels", "shifted-labels", "collapsed-predictions", "miscalibration"}


def counts(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mostly 0, now and then more."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 6, generator=rng)
    return x, torch.poisson((x[:, 0] - 1).exp(), generator=rng).long()


def prices(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Up to a million; a table of what is taken for what would need terabytes."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 6, generator=rng)
    return x, (1e6 * torch.sigmoid(x @ torch.arange(6.0))).long()


def case(make: Callable[[int, int], tuple[torch.Tensor, torch.Tensor]], epochs: int = 2, lr: float = 0.01) -> Case:
    (x, y), held = make(600, 0), make(200, 1)
    it = Model(Sequential(Dense(1)), "quadratic", Adam(lr), metrics=(), input_shape=(6,))
    history = it.fit(x, y, epochs=epochs, batch_size=32, verbose=False)
    return case_of(it, x, y, validation=held, history=history, epochs=epochs)


@pytest.mark.parametrize("make", [counts, prices])
def test_nothing_is_reported_of_classes(make: Callable[[int, int], tuple[torch.Tensor, torch.Tensor]]) -> None:
    it = case(make)
    for check in (class_imbalance, shuffled_labels, shifted_labels):
        assert check.CHECK.look(it) == []
    assert not ABOUT_CLASSES & set(diagnose(it).names)


def test_regression_targets_are_described_as_numbers() -> None:
    (found,) = underfitting.CHECK.look(case(prices))
    assert found.evidence["train_squared_error"] > found.evidence["error_of_linear_regression_on_new_examples"]
    assert overfitting.CHECK.look(case(prices)) == []
