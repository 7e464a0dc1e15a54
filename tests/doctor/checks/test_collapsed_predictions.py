"""Trained models that predict one class for every input."""

import pytest
import torch

from pellucid.doctor import Case, case_of
from pellucid.doctor.checks.collapsed_predictions import CHECK
from tests.doctor.small_cases import corners, make_case, make_model


def case_with_bias(bias: list[float]) -> Case:
    """Return a case whose last layer outputs `bias` for every input."""
    model = make_model()
    model.weights["dense2.weight"].zero_()
    model.weights["dense2.bias"].copy_(torch.tensor(bias))
    return case_of(model, *corners(64), validation=corners(40, seed=1))


def test_a_model_that_has_learned_has_no_finding() -> None:
    assert CHECK.find(make_case(epochs=5)) == []


def test_a_model_before_its_first_step_is_skipped() -> None:
    case = make_case()
    assert case.train_predictions.accuracy < 0.9
    assert CHECK.find(case) == []


def test_one_predicted_class_is_found_once() -> None:
    (finding,) = CHECK.find(case_with_bias([0.0, 3.0, 0.0, 0.0]))
    assert (finding.path, finding.evidence["commonest_answer"], finding.evidence["examples"]) == ("train", "1", 64)
    assert finding.evidence["classes_that_95_percent_of_labels_have"] == 4
    assert finding.evidence["classes_that_95_percent_of_answers_have"] == 1
    assert finding.evidence["its_share_of_the_answers"] == 1
    assert finding.evidence["its_share_of_the_labels"] == pytest.approx(0.25)
    assert finding.evidence["accuracy"] == pytest.approx(0.25)


def test_one_predicted_class_for_data_of_one_class_has_no_finding() -> None:
    model = make_model()
    x, y = corners(60, classes=1)
    model.fit(x, y, epochs=3, batch_size=16, verbose=False)
    assert CHECK.find(case_of(model, x, y)) == []


def test_nan_outputs_have_no_finding() -> None:
    assert CHECK.find(case_with_bias([float("nan")] * 4)) == []


def test_regression_and_few_examples_are_skipped() -> None:
    x, _ = corners(40)
    model = make_model(loss="quadratic", metrics=())
    model.fit(x, torch.rand(40, 4), epochs=1, batch_size=16, verbose=False)
    assert CHECK.find(case_of(model, x, torch.rand(40, 4))) == []
    small_model = make_model()
    small_model.fit(*corners(10), epochs=1, batch_size=16, verbose=False)
    assert CHECK.find(case_of(small_model, *corners(10))) == []
