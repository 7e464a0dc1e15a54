"""Models that know their training examples by heart."""

from dataclasses import replace

import pytest
import torch

from pellucid.combine import Sequential
from pellucid.data import load
from pellucid.doctor import Case, case_of, diagnose
from pellucid.doctor.checks.overfitting import CHECK
from pellucid.layers import Dense, ReLU
from pellucid.model import Model
from pellucid.models import mlp
from pellucid.optim import Adam
from tests.doctor.examined import case, corners


def learned_by_heart(epochs: int = 60) -> Case:
    """Forty points whose labels say nothing of others."""
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(240, 20, generator=rng), torch.randint(2, (240,), generator=rng)
    it = Model(Sequential(Dense(64), ReLU(), Dense(2)), optimizer=Adam(0.01), input_shape=(20,))
    pair = (x[40:], y[40:])
    history = it.fit(x[:40], y[:40], epochs=epochs, batch_size=10, validation=pair, verbose=False)
    return case_of(it, x[:40], y[:40], validation=pair, history=history, epochs=epochs, batch_size=10)


def test_a_gap_is_found_and_measured() -> None:
    it = learned_by_heart()
    (found,) = CHECK.look(it)
    assert (found.check, found.path) == ("overfitting", "validation")
    assert it.history is not None
    assert it.validation is not None
    right = it.model.evaluate(it.validation.x, it.validation.y)["accuracy"]
    assert abs(found.evidence["validation_accuracy"] - right) < 1e-6
    assert found.evidence["train_accuracy"] == 1
    losses = it.history["val_loss"]
    assert found.evidence["epoch_of_the_minimum"] == losses.index(min(losses)) + 1
    assert abs(found.evidence["validation_loss_over_its_minimum"] - losses[-1] / min(losses)) < 1e-5


def test_few_examples_are_the_cause_where_fewer_do_worse() -> None:
    data = load("digits")
    x, y, pair = data.train.x[:40], data.train.y[:40], (data.test.x, data.test.y)
    it = Model(mlp(sizes=(64, 32, 10)), optimizer=Adam(0.01), input_shape=(1, 8, 8))
    history = it.fit(x, y, epochs=40, batch_size=8, validation=pair, verbose=False)
    (found,) = CHECK.look(case_of(it, x, y, validation=pair, history=history, epochs=40, batch_size=8))
    assert found.direct
    assert "too few" in found.cause
    (by_heart,) = CHECK.look(learned_by_heart())
    assert not by_heart.direct  # no number of examples tells labels that are chance


def test_without_a_history_the_gap_tells() -> None:
    assert CHECK.look(replace(learned_by_heart(), history=None))


def test_a_gap_that_may_be_chance_is_none() -> None:
    it = learned_by_heart()
    assert it.validation is not None
    few = replace(it.validation, x=it.validation.x[:5], y=it.validation.y[:5])
    assert not CHECK.look(replace(it, validation=few))


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(240, 1), (240,)])
def test_numbers_are_compared_by_their_loss(shape: tuple[int, ...]) -> None:
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(240, 20, generator=rng), torch.randn(shape, generator=rng)
    it = Model(Sequential(Dense(64), ReLU(), Dense(1)), "quadratic", Adam(0.01), metrics=(), input_shape=(20,))
    pair = (x[40:], y[40:])
    it.fit(x[:40], y[:40], epochs=80, batch_size=10, verbose=False)
    case = case_of(it, x[:40], y[:40], validation=pair)
    (found,) = CHECK.look(case)
    assert "gap" not in found.evidence
    mean = float((y[40:] - y[:40].mean()).square().mean()) / 2
    assert found.evidence["validation_loss_of_the_mean"] == pytest.approx(mean, rel=1e-5)
    assert "overfitting" in diagnose(case).names


def test_what_generalises_is_quiet() -> None:
    assert not CHECK.look(case(epochs=20))


def test_nothing_is_reported_without_training_or_validation() -> None:
    assert not CHECK.look(case())
    assert not CHECK.look(replace(learned_by_heart(), validation=None))
    assert not CHECK.look(case_of(case().model, *corners(10)))


def test_what_is_not_known_by_heart_is_no_overfitting() -> None:
    it = learned_by_heart(epochs=60)
    wrong = it.train.y.clone()
    wrong[:25] = 1 - wrong[:25]  # 15 of 40 are right, which is far above none
    none = (it.train.x, it.model.predict(it.train.x).argmin(1))
    poor = case_of(it.model, it.train.x, wrong, validation=none)
    assert poor.train_predictions.accuracy == pytest.approx(15 / 40)
    assert poor.validation_predictions is not None
    assert poor.validation_predictions.accuracy == 0
    assert not CHECK.look(poor)
