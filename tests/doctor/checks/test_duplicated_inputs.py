"""Copies among the training examples."""

import pytest
import torch

from pellucid.doctor import Case, case_of, diagnose
from pellucid.doctor.checks.duplicated_inputs import CHECK
from tests.doctor.small_cases import corners, make_model


def make_case(indices: list[int], label_shift: int = 0) -> Case:
    """Return a case of 100 corners and of copies of those at `indices`, with labels shifted by `label_shift`."""
    x, y = corners(100)
    return case_of(make_model(), torch.cat([x, x[indices]]), torch.cat([y, (y[indices] + label_shift) % 4]))


def test_examples_that_all_differ_have_no_finding() -> None:
    assert CHECK.find(make_case([])) == []


def test_a_few_copies_have_no_finding() -> None:
    assert CHECK.find(make_case([1, 2, 3])) == []


def test_many_copies_are_counted_and_removed_by_the_remedy() -> None:
    case = make_case([5] * 10 + list(range(20, 35)))
    (finding,) = CHECK.find(case)
    assert (finding.path, finding.evidence["copies"], finding.evidence["different_inputs"]) == ("train", 25, 100)
    assert finding.evidence["copies_of_the_commonest"] == 10
    assert finding.evidence["share"] == 25 / 125
    assert finding.remedy is not None
    assert torch.equal(finding.remedy.apply(case).train.x, corners(100)[0])


def test_few_copies_with_another_label_are_found() -> None:
    (finding,) = CHECK.find(make_case([1, 2, 3, 4], label_shift=1))
    assert finding.evidence["copies_with_another_label"] == 4
    assert "different ways" in finding.cause


def test_regression_targets_and_few_features_have_no_finding() -> None:
    x, _ = corners(40)
    assert CHECK.find(case_of(make_model(loss="quadratic", metrics=()), x, torch.rand(40, 4))) == []
    xor = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]]).repeat(10, 1)[:, :, None, None]
    assert CHECK.find(case_of(make_model(input_shape=(2, 1, 1)), xor, torch.arange(40) % 2)) == []


def test_many_copies_with_other_labels_are_one_finding() -> None:
    (finding,) = CHECK.find(make_case(list(range(100)), label_shift=1))
    assert (finding.evidence["copies"], finding.evidence["copies_with_another_label"]) == (100, 100)
    assert finding.evidence["different_inputs"] == 100
    assert "different ways" in finding.cause
    assert finding.remedy is not None


@pytest.mark.slow
def test_shuffled_labels_follow_from_copies_with_other_labels() -> None:
    x, y = corners(500)
    diagnosis = diagnose(
        case_of(make_model(), torch.cat([x, x]), torch.cat([y, (y + 1) % 4]), validation=corners(200, seed=1))
    )
    cause_by_check = {diagnosis.findings[index].check: cause for index, cause in diagnosis.cause_by_consequence.items()}
    assert diagnosis.names[0] == "duplicated-inputs"
    assert cause_by_check["shuffled-labels"] == "duplicated-inputs"


def test_one_input_in_place_of_many_is_a_placeholder() -> None:
    for label_shift in (0, 1):
        (finding,) = CHECK.find(make_case([5] * 20 + [7, 8], label_shift))
        assert "placeholder" in finding.cause
