"""Learning rates that are too high for a network that learns four corners."""

from dataclasses import replace

import pytest

from pellucid.doctor.checks.learning_rate_too_high import CHECK
from pellucid.doctor.predictions import predictions
from pellucid.doctor.rehearsal import RehearsalSettings
from pellucid.doctor.remedies import rebuilt
from pellucid.optim import SGD, Adam
from tests.doctor.examined import case


def test_a_rate_that_ends_above_the_first_loss_is_found() -> None:
    it = case(epochs=10, optimizer=SGD(60.0))
    (found,) = CHECK.look(it)
    assert (found.check, found.path) == ("learning-rate-too-high", "training")
    assert found.evidence["learning_rate"] == 60.0
    assert found.evidence["loss_after_training"] == predictions(it.model, it.train).loss
    assert found.evidence["lower_rate"] < 60
    trial = it.rehearse(RehearsalSettings(25, found.evidence["lower_rate"] / 60))
    assert found.evidence["range_test_loss_at_the_lower_rate"] == trial.end
    assert found.evidence["range_test_steps"] == 25


def test_its_remedy_is_the_lower_rate_and_ends_it() -> None:
    it = case(epochs=10, optimizer=SGD(60.0))
    (found,) = CHECK.look(it)
    assert found.remedy is not None
    mended = found.remedy.apply(it)
    assert mended.model.optimizer.lr == found.evidence["lower_rate"]
    assert not CHECK.look(mended)


def test_a_rate_for_which_training_was_never_begun_is_found() -> None:
    (found,) = CHECK.look(case(optimizer=SGD(60.0)))
    assert "loss_at_this_rate" in found.evidence


def test_a_training_that_was_stopped_by_something_else_is_none_of_its() -> None:
    assert not CHECK.look(replace(case(optimizer=SGD(0.5)), stopped="the disk is full"))


def test_rates_that_work_are_quiet() -> None:
    assert not CHECK.look(case(epochs=10))
    assert not CHECK.look(case())
    assert not CHECK.look(case(epochs=10, optimizer=Adam(0.01)))


def test_a_rate_that_is_too_low_is_not_too_high() -> None:
    assert not CHECK.look(rebuilt(case(epochs=10), optimizer=SGD(1e-4)))


def test_where_the_range_test_does_not_reach_a_working_rate_the_usual_one_is_tried() -> None:
    (found,) = CHECK.look(case(optimizer=SGD(1e30)))
    assert found.evidence["lower_rate"] == pytest.approx(SGD().lr)
    assert found.evidence["loss_at_the_lower_rate"] < 1
