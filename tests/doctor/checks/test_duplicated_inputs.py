"""Copies among the training examples."""

import pytest
import torch

from pellucid.doctor import Case, case_of, diagnose
from pellucid.doctor.checks.duplicated_inputs import CHECK
from tests.doctor.examined import corners, model


def case(places: list[int], moved: int = 0) -> Case:
    """The corners, and after them those at some places again, with labels moved on by `moved`."""
    x, y = corners(100)
    return case_of(model(), torch.cat([x, x[places]]), torch.cat([y, (y[places] + moved) % 4]))


def test_examples_that_all_differ_have_no_finding() -> None:
    assert CHECK.look(case([])) == []


def test_a_few_copies_are_no_fault() -> None:
    assert CHECK.look(case([1, 2, 3])) == []


def test_many_copies_are_counted_and_left_out_by_the_remedy() -> None:
    it = case([5] * 10 + list(range(20, 35)))
    (found,) = CHECK.look(it)
    assert (found.path, found.evidence["copies"], found.evidence["different_inputs"]) == ("train", 25, 100)
    assert found.evidence["copies_of_the_commonest"] == 10
    assert found.evidence["share"] == 25 / 125
    assert found.remedy is not None
    assert torch.equal(found.remedy.apply(it).train.x, corners(100)[0])


def test_copies_with_another_label_are_a_fault_of_their_own() -> None:
    (found,) = CHECK.look(case([1, 2, 3, 4], moved=1))
    assert found.evidence["copies_with_another_label"] == 4
    assert "different ways" in found.cause


def test_numbers_as_targets_and_few_features_are_taken() -> None:
    x, _ = corners(40)
    assert CHECK.look(case_of(model(loss="quadratic", metrics=()), x, torch.rand(40, 4))) == []
    xor = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]]).repeat(10, 1)[:, :, None, None]
    assert CHECK.look(case_of(model(input_shape=(2, 1, 1)), xor, torch.arange(40) % 2)) == []


def test_many_copies_with_other_labels_are_one_finding() -> None:
    (found,) = CHECK.look(case(list(range(100)), moved=1))
    assert (found.evidence["copies"], found.evidence["copies_with_another_label"]) == (100, 100)
    assert found.evidence["different_inputs"] == 100
    assert "different ways" in found.cause
    assert found.remedy is not None


@pytest.mark.slow
def test_labels_that_look_shuffled_because_of_such_copies_follow_from_them() -> None:
    x, y = corners(500)
    found = diagnose(case_of(model(), torch.cat([x, x]), torch.cat([y, (y + 1) % 4]), validation=corners(200, seed=1)))
    follows = {found.findings[place].check: cause for place, cause in found.follows.items()}
    assert found.names[0] == "duplicated-inputs"
    assert follows["shuffled-labels"] == "duplicated-inputs"
