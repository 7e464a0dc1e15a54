"""Labels whose class indices differ between the parts of the data."""

import pytest
import torch

from pellucid.doctor import Case, case_of, diagnose
from pellucid.doctor.checks.shifted_labels import CHECK
from tests.doctor.small_cases import corners, make_model


def renumbered_case(new_labels: list[int], epochs: int = 0) -> Case:
    """Return a case in which class k has the label new_labels[k] in validation."""
    (x, y), (held_out, held_out_y) = corners(200), corners(120, seed=1)
    label_map = torch.tensor(new_labels)
    held_out_y = label_map[held_out_y]
    model = make_model()
    if epochs:
        model.fit(x, y, epochs=epochs, batch_size=16, verbose=False)
    return case_of(model, x, y, validation=(held_out, held_out_y))


@pytest.mark.parametrize("epochs", [0, 4])
def test_parts_that_agree_have_no_finding(epochs: int) -> None:
    assert CHECK.find(renumbered_case([0, 1, 2, 3], epochs)) == []


@pytest.mark.parametrize("new_labels", [[1, 2, 3, 0], [3, 0, 1, 2], [0, 2, 1, 3], [0, 2, 3, 1]])
def test_validation_classes_in_another_order_are_the_cause(new_labels: list[int]) -> None:
    diagnosis = diagnose(renumbered_case(new_labels, epochs=4))
    assert (diagnosis.findings[0].check, diagnosis.findings[0].path) == ("shifted-labels", "validation")
    assert diagnosis.kind(0) == "cause"
    assert diagnosis.attempts[0].after == (1.0,)


def test_two_merged_classes_are_not_called_another_order() -> None:
    assert "shifted-labels" not in diagnose(renumbered_case([0, 1, 2, 2], epochs=4)).causes


def test_no_validation_and_few_examples_are_skipped() -> None:
    x, y = corners(200)
    assert CHECK.find(case_of(make_model(), x, y)) == []
    assert CHECK.find(case_of(make_model(), *corners(10), validation=corners(4))) == []


@pytest.mark.parametrize(("shift", "has_validation"), [(1, True), (-1, True), (1, False)])
def test_labels_off_by_one_in_all_data_are_found_by_the_model(shift: int, has_validation: bool) -> None:
    trained_case = renumbered_case([0, 1, 2, 3], epochs=4)
    assert trained_case.validation is not None
    validation = (trained_case.validation.x, (trained_case.validation.y + shift) % 4)
    case = case_of(
        trained_case.model,
        trained_case.train.x,
        (trained_case.train.y + shift) % 4,
        validation=validation if has_validation else None,
    )
    (finding,) = CHECK.find(case)
    assert (finding.path, finding.evidence["labels_are"]) == ("train", f"off by {shift}")
    assert finding.evidence["right_on_train"] == 0
    assert finding.evidence["right_if_they_are_moved_back"] == 1
    diagnosis = diagnose(case)
    assert [one.check for k, one in enumerate(diagnosis.findings) if k not in diagnosis.cause_by_consequence] == [
        "shifted-labels"
    ]


def test_one_predicted_class_is_no_shift() -> None:
    x, y = corners(100)
    y = (y == 0).long() * 3 + 1 - (y == 0).long()  # a quarter of the labels are 3, the others 1
    case = case_of(make_model(), x, y)
    case.model.weights["dense2.weight"].zero_()
    case.model.weights["dense2.bias"].copy_(torch.tensor([9.0, 0, 0, 0]))
    assert case.trained
    assert CHECK.find(case) == []  # labels minus 1 are right for three quarters: chance
