"""A remedy, tried: two short trainings, measured on the same examples."""

from dataclasses import replace

import pytest
import torch

from pellucid.doctor import case_of
from pellucid.doctor.attempt import attempter
from pellucid.doctor.finding import Remedy
from pellucid.doctor.mending import with_rate
from pellucid.losses import Quadratic
from pellucid.optim import SGD
from pellucid.optim.schedules import Cosine, Warmup
from tests.doctor.examined import case, corners, model

TENFOLD = Remedy("ten times the learning rate", lambda it: with_rate(it, 10))


def test_the_outcomes_are_those_of_the_trainings() -> None:
    it = case(optimizer=SGD(0.01))
    found = attempter(it, 12)(TENFOLD)
    assert (found.does, found.steps, found.measured_on) == (TENFOLD.does, 12, "validation")
    for place, lr in enumerate((0.01, 0.1)):
        x, y = corners()
        trained = model(optimizer=SGD(lr))
        trained.fit(x, y, epochs=3, batch_size=16, verbose=False)  # 12 steps
        measured = trained.evaluate(*corners(40, seed=1))
        assert found.loss[place] == pytest.approx(measured["loss"], rel=1e-5)
        assert found.accuracy[place] == pytest.approx(measured["accuracy"])
    assert found.loss[1] < found.loss[0]


def test_both_go_by_the_schedule() -> None:
    plan = {"optimizer": SGD(0.01), "schedule": Warmup(6, Cosine())}
    found = attempter(replace(case(**plan), epochs=3), 12)(TENFOLD)
    for place, lr in enumerate((0.01, 0.1)):
        trained = model(**{**plan, "optimizer": SGD(lr)})
        trained.fit(*corners(), epochs=3, batch_size=16, verbose=False)  # 12 steps
        assert found.loss[place] == pytest.approx(trained.evaluate(*corners(40, seed=1))["loss"], rel=1e-5)


def test_it_is_no_longer_than_the_training() -> None:
    found = attempter(replace(case(optimizer=SGD(0.01)), epochs=3))(TENFOLD)
    assert (found.steps, found.planned) == (12, 12)
    assert found.to_json()["steps_of_the_training"] == 12
    unknown = attempter(case(), 12)(TENFOLD)
    assert (unknown.steps, unknown.to_json()["steps_of_the_training"]) == (12, None)


def test_a_training_that_breaks_has_no_numbers() -> None:
    found = attempter(case(optimizer=SGD(1e30)), 5)(Remedy("a small rate", lambda it: with_rate(it, 1e-31)))
    assert (found.loss[0], found.accuracy[0]) == (None, None)
    assert found.loss[1] is not None
    assert found.to_json()["loss"]["before"] is None


def test_without_validation_data_it_is_measured_on_what_was_learned() -> None:
    assert attempter(replace(case(), validation=None), 2)(TENFOLD).measured_on == "train"


def test_targets_that_are_no_classes_have_no_accuracy() -> None:
    x, y = corners()
    it = case_of(model(loss=Quadratic(), metrics=()), x, torch.nn.functional.one_hot(y, 4).float())
    assert attempter(it, 2)(TENFOLD).accuracy == (None, None)


def test_what_several_remedies_start_from_is_trained_once() -> None:
    begun = []
    it = replace(case(), begin=lambda: begun.append(1) or model())
    try_out = attempter(it, steps=2)
    assert not begun
    one, two = try_out(Remedy("nothing", lambda it: it)), try_out(Remedy("nothing again", lambda it: it))
    assert len(begun) == 3  # once as it is set, once for each remedy
    assert one.loss == two.loss == (one.loss[0], one.loss[0])
