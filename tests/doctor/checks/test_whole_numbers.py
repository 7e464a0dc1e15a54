"""Integer targets of regressions, which are not classes."""

from collections.abc import Callable

import pytest
import torch

from pellucid.combine import Sequential
from pellucid.doctor import Case, case_of, diagnose
from pellucid.doctor.checks import class_imbalance, overfitting, shuffled_labels, underfitting
from pellucid.layers import Dense
from pellucid.model import Model
from pellucid.optim import Adam

CLASS_CHECKS = {"class-imbalance", "shuffled-labels", "shifted-labels"}


def count_data(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs (n, 6) and counts (n,), most of them 0."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 6, generator=rng)
    return x, torch.poisson((x[:, 0] - 1).exp(), generator=rng).long()


def price_data(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs (n, 6) and integers (n,) up to a million, whose confusion matrix would need terabytes."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 6, generator=rng)
    return x, (1e6 * torch.sigmoid(x @ torch.arange(6.0))).long()


def make_case(
    make_data: Callable[[int, int], tuple[torch.Tensor, torch.Tensor]], epochs: int = 2, lr: float = 0.01
) -> Case:
    (x, y), held_out = make_data(600, 0), make_data(200, 1)
    model = Model(Sequential(Dense(1)), "quadratic", Adam(lr), metrics=(), input_shape=(6,))
    history = model.fit(x, y, epochs=epochs, batch_size=32, verbose=False)
    return case_of(model, x, y, validation=held_out, history=history, epochs=epochs)


@pytest.mark.parametrize("make_data", [count_data, price_data])
def test_checks_of_classes_find_nothing_for_integer_targets(
    make_data: Callable[[int, int], tuple[torch.Tensor, torch.Tensor]],
) -> None:
    case = make_case(make_data)
    for check in (class_imbalance, shuffled_labels):
        assert check.CHECK.find(case) == []
    assert not CLASS_CHECKS & set(diagnose(case).names)


def test_integer_targets_are_examined_as_a_regression() -> None:
    (finding,) = underfitting.CHECK.find(make_case(price_data))
    assert finding.evidence["train_squared_error"] > finding.evidence["error_of_linear_regression_on_new_examples"]
    assert overfitting.CHECK.find(make_case(price_data)) == []
