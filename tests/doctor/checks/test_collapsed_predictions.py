"""A model that gives one answer to everything."""

import pytest
import torch

from pellucid.doctor import Case, case_of
from pellucid.doctor.checks.collapsed_predictions import CHECK
from tests.doctor.examined import case, corners, model


def biased(bias: list[float]) -> Case:
    """The last layer says the same of everything."""
    it = model()
    it.weights["dense2.weight"].zero_()
    it.weights["dense2.bias"].copy_(torch.tensor(bias))
    return case_of(it, *corners(64), validation=corners(40, seed=1))


def test_a_model_that_has_learned_has_no_finding() -> None:
    assert CHECK.look(case(epochs=5)) == []


def test_a_model_before_its_first_step_is_skipped() -> None:
    it = case()
    assert it.train_predictions.accuracy < 0.9
    assert CHECK.look(it) == []


def test_one_answer_to_everything_is_found_once() -> None:
    (found,) = CHECK.look(biased([0.0, 3.0, 0.0, 0.0]))
    assert (found.path, found.evidence["commonest_answer"], found.evidence["examples"]) == ("train", "1", 64)
    assert found.evidence["classes_that_95_percent_of_labels_have"] == 4
    assert found.evidence["classes_that_95_percent_of_answers_have"] == 1
    assert found.evidence["its_share_of_the_answers"] == 1
    assert found.evidence["its_share_of_the_labels"] == pytest.approx(0.25)
    assert found.evidence["accuracy"] == pytest.approx(0.25)


def test_one_answer_is_right_where_there_is_one_class() -> None:
    it = model()
    x, y = corners(60, classes=1)
    it.fit(x, y, epochs=3, batch_size=16, verbose=False)
    assert CHECK.look(case_of(it, x, y)) == []


def test_outputs_that_are_no_numbers_are_another_fault() -> None:
    assert CHECK.look(biased([float("nan")] * 4)) == []


def test_regression_and_few_examples_are_skipped() -> None:
    x, _ = corners(40)
    it = model(loss="quadratic", metrics=())
    it.fit(x, torch.rand(40, 4), epochs=1, batch_size=16, verbose=False)
    assert CHECK.look(case_of(it, x, torch.rand(40, 4))) == []
    few = model()
    few.fit(*corners(10), epochs=1, batch_size=16, verbose=False)
    assert CHECK.look(case_of(few, *corners(10))) == []


@pytest.mark.parametrize("path", ["dense1", "dense2"])
def test_a_weight_of_0_is_named_as_the_cause(path: str) -> None:
    it = case(epochs=5)
    it.model.weights[f"{path}.weight"].zero_()
    (found,) = CHECK.look(it)
    assert found.cause == f"the weight of {path} is 0, so its outputs are the same for every input"
