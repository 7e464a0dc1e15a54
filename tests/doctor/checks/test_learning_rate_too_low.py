"""Learning rates that are too low for the steps that a training has."""

import time
from dataclasses import replace

import pytest

from pellucid.doctor.case import RANGE_TEST_STEPS
from pellucid.doctor.checks.learning_rate_too_low import CHECK, _extrapolated
from pellucid.doctor.predictions import predictions
from pellucid.optim import SGD, Adam
from pellucid.optim.schedules import Constant, Warmup
from pellucid.run.history import History
from tests.doctor.examined import case


def test_a_rate_that_leaves_the_loss_where_it_was_is_found() -> None:
    it = case(epochs=20, optimizer=SGD(1e-4))
    (found,) = CHECK.look(it)
    assert (found.check, found.path) == ("learning-rate-too-low", "training")
    assert found.evidence["loss_after_training"] == predictions(it.model, it.train).loss
    assert found.evidence["steps_of_the_training"] == 20 * 4  # 64 examples in batches of 16
    assert found.evidence["higher_rate"] > 1e-3


def test_rates_far_below_the_range_test_are_found_too() -> None:
    (found,) = CHECK.look(case(epochs=20, optimizer=SGD(1e-6)))
    assert found.evidence["higher_rate"] >= 1e-3  # the range test alone reaches a hundredfold


def test_its_remedy_ends_it() -> None:
    it = case(epochs=20, optimizer=SGD(1e-4))
    (found,) = CHECK.look(it)
    assert found.remedy is not None
    assert not CHECK.look(found.remedy.apply(it))


@pytest.mark.slow
def test_a_low_rate_is_no_fault_where_the_epochs_make_up_for_it() -> None:
    assert CHECK.look(case(epochs=10, optimizer=SGD(0.02)))
    assert not CHECK.look(case(epochs=300, optimizer=SGD(0.02)))


def test_before_training_the_first_steps_tell() -> None:
    assert CHECK.look(case(optimizer=SGD(1e-6)))
    assert not CHECK.look(case())
    assert not CHECK.look(case(optimizer=Adam(0.01)))


def test_the_first_steps_of_a_warm_up_are_not_its_pace() -> None:
    settings = {"optimizer": SGD(0.05), "schedule": Warmup(100)}
    assert not CHECK.look(case(epochs=50, **settings))
    assert not CHECK.look(replace(case(**settings), epochs=50))
    assert CHECK.look(replace(case(**settings), epochs=10))  # which ends before the rate is up
    assert not CHECK.look(replace(case(optimizer=SGD(0.5), schedule=Warmup(100)), epochs=30))


def test_the_number_of_steps_in_a_history_costs_no_time() -> None:
    def extrapolated(steps: int) -> float:
        it = replace(case(optimizer=SGD(0.05), schedule=Constant()), history=History([{"epoch": 1, "step": steps}]))
        assert it.steps_made == steps
        return _extrapolated(it, {0.01: 2.0, 1.0: 1.9})

    start = time.process_time()
    assert extrapolated(2**53) == pytest.approx(1.9 - 0.1 * (2**53 / RANGE_TEST_STEPS - 1), rel=1e-3)
    assert extrapolated(50_000) == pytest.approx(1.9 - 0.1 * (50_000 / RANGE_TEST_STEPS - 1), rel=1e-3)
    assert time.process_time() - start < 5


def test_a_training_that_works_is_quiet() -> None:
    assert not CHECK.look(case(epochs=20))


def test_a_usual_rate_whose_loss_still_falls_needs_epochs_and_no_other_rate() -> None:
    it = case(epochs=5, optimizer=Adam(0.001))
    assert it.history is not None
    assert it.loss > 1.5 * it.loss_at(30.0, 10)  # a higher rate would be faster
    assert not CHECK.look(it)
    assert not CHECK.look(replace(it, history=None))
    assert not CHECK.look(replace(case(optimizer=Adam(0.001)), epochs=5))
    assert CHECK.look(case(epochs=5, optimizer=Adam(1e-5)))


def test_a_usual_rate_whose_loss_stands_still_is_found() -> None:
    it = case(epochs=8, optimizer=SGD(0.03))
    assert it.history is not None
    assert not CHECK.look(it)
    flat = [{**row, "train_loss": 1.4} for row in it.history.rows]
    assert CHECK.look(replace(it, history=History(flat, it.history.layers)))
