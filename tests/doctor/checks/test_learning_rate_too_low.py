"""Learning rates that are too low for the number of steps of a training."""

import time
from dataclasses import replace

import pytest

from pellucid.doctor.case import RANGE_TEST_STEPS
from pellucid.doctor.checks.learning_rate_too_low import CHECK, _extrapolated_loss
from pellucid.doctor.predictions import predictions
from pellucid.optim import SGD, Adam
from pellucid.optim.schedules import Constant, Warmup
from pellucid.run.history import History
from tests.doctor.small_cases import make_case


def test_a_rate_that_leaves_the_loss_where_it_was_is_found() -> None:
    case = make_case(epochs=20, optimizer=SGD(1e-4))
    (finding,) = CHECK.find(case)
    assert (finding.check, finding.path) == ("learning-rate-too-low", "training")
    assert finding.evidence["loss_after_training"] == predictions(case.model, case.train).loss
    assert finding.evidence["steps_of_the_training"] == 20 * 4  # 64 examples in batches of 16
    assert finding.evidence["higher_rate"] > 1e-3


def test_rates_far_below_the_range_test_are_found_too() -> None:
    (finding,) = CHECK.find(make_case(epochs=20, optimizer=SGD(1e-6)))
    assert finding.evidence["higher_rate"] >= 1e-3  # the range test ends at 100 times the rate


def test_the_remedy_ends_the_finding() -> None:
    case = make_case(epochs=20, optimizer=SGD(1e-4))
    (finding,) = CHECK.find(case)
    assert finding.remedy is not None
    assert not CHECK.find(finding.remedy.apply(case))


@pytest.mark.slow
def test_a_low_rate_with_enough_epochs_has_no_finding() -> None:
    assert CHECK.find(make_case(epochs=10, optimizer=SGD(0.02)))
    assert not CHECK.find(make_case(epochs=300, optimizer=SGD(0.02)))


def test_a_low_rate_before_training_is_found() -> None:
    assert CHECK.find(make_case(optimizer=SGD(1e-6)))
    assert not CHECK.find(make_case())
    assert not CHECK.find(make_case(optimizer=Adam(0.01)))


def test_a_warmup_is_not_extrapolated_from_its_first_steps() -> None:
    settings = {"optimizer": SGD(0.05), "schedule": Warmup(100)}
    assert not CHECK.find(make_case(epochs=50, **settings))
    assert not CHECK.find(replace(make_case(**settings), epochs=50))
    assert CHECK.find(replace(make_case(**settings), epochs=10))  # ends before the warmup
    assert not CHECK.find(replace(make_case(optimizer=SGD(0.5), schedule=Warmup(100)), epochs=30))


def test_extrapolation_to_many_steps_takes_little_time() -> None:
    def extrapolated(steps: int) -> float:
        case = replace(
            make_case(optimizer=SGD(0.05), schedule=Constant()), history=History([{"epoch": 1, "step": steps}])
        )
        assert case.steps_made == steps
        return _extrapolated_loss(case, {0.01: 2.0, 1.0: 1.9})

    start_time = time.process_time()
    assert extrapolated(2**53) == pytest.approx(1.9 - 0.1 * (2**53 / RANGE_TEST_STEPS - 1), rel=1e-3)
    assert extrapolated(50_000) == pytest.approx(1.9 - 0.1 * (50_000 / RANGE_TEST_STEPS - 1), rel=1e-3)
    assert time.process_time() - start_time < 5


def test_a_working_training_has_no_finding() -> None:
    assert not CHECK.find(make_case(epochs=20))


def test_a_usual_rate_has_no_finding_while_the_loss_falls() -> None:
    case = make_case(epochs=5, optimizer=Adam(0.001))
    assert case.history is not None
    assert case.loss > 1.5 * case.loss_at(30.0, 10)  # a higher rate would be faster
    assert not CHECK.find(case)
    assert not CHECK.find(replace(case, history=None))
    assert not CHECK.find(replace(make_case(optimizer=Adam(0.001)), epochs=5))
    assert CHECK.find(make_case(epochs=5, optimizer=Adam(1e-5)))


def test_a_usual_rate_is_found_if_the_loss_is_constant() -> None:
    case = make_case(epochs=8, optimizer=SGD(0.03))
    assert case.history is not None
    assert not CHECK.find(case)
    flat = [{**row, "train_loss": 1.4} for row in case.history.rows]
    assert CHECK.find(replace(case, history=History(flat, case.history.layers)))
