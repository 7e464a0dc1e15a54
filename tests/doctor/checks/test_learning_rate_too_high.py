"""Learning rates that are too high for a network that learns four corners."""

from dataclasses import replace

import pytest

from pellucid.doctor.checks.learning_rate_too_high import CHECK
from pellucid.doctor.predictions import predictions
from pellucid.doctor.rehearsal import RehearsalSettings
from pellucid.doctor.remedies import rebuilt
from pellucid.optim import SGD, Adam
from tests.doctor.small_cases import make_case


def test_a_rate_that_ends_above_the_first_loss_is_found() -> None:
    case = make_case(epochs=10, optimizer=SGD(60.0))
    (finding,) = CHECK.find(case)
    assert (finding.check, finding.path) == ("learning-rate-too-high", "training")
    assert finding.evidence["learning_rate"] == 60.0
    assert finding.evidence["loss_after_training"] == predictions(case.model, case.train).loss
    assert finding.evidence["lower_rate"] < 60
    trial = case.rehearse(RehearsalSettings(25, finding.evidence["lower_rate"] / 60))
    assert finding.evidence["range_test_loss_at_the_lower_rate"] == trial.final_loss
    assert finding.evidence["range_test_steps"] == 25


def test_the_remedy_lowers_the_rate_and_ends_the_finding() -> None:
    case = make_case(epochs=10, optimizer=SGD(60.0))
    (finding,) = CHECK.find(case)
    assert finding.remedy is not None
    mended_case = finding.remedy.apply(case)
    assert mended_case.model.optimizer.lr == finding.evidence["lower_rate"]
    assert not CHECK.find(mended_case)


def test_a_high_rate_before_training_is_found() -> None:
    (finding,) = CHECK.find(make_case(optimizer=SGD(60.0)))
    assert "loss_at_this_rate" in finding.evidence


def test_a_training_stopped_by_another_error_has_no_finding() -> None:
    assert not CHECK.find(replace(make_case(optimizer=SGD(0.5)), stopped="the disk is full"))


def test_working_rates_have_no_finding() -> None:
    assert not CHECK.find(make_case(epochs=10))
    assert not CHECK.find(make_case())
    assert not CHECK.find(make_case(epochs=10, optimizer=Adam(0.01)))


def test_a_low_rate_has_no_finding() -> None:
    assert not CHECK.find(rebuilt(make_case(epochs=10), optimizer=SGD(1e-4)))


def test_the_default_rate_is_tried_if_the_range_test_reaches_no_working_rate() -> None:
    (finding,) = CHECK.find(make_case(optimizer=SGD(1e30)))
    assert finding.evidence["lower_rate"] == pytest.approx(SGD().lr)
    assert finding.evidence["loss_at_the_lower_rate"] < 1
