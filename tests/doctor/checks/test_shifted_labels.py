"""Labels that mean something else in the other part."""

import pytest
import torch

from pellucid.doctor import Case, case_of, diagnose
from pellucid.doctor.checks.shifted_labels import CHECK
from tests.doctor.examined import corners, model


def case(order: list[int], epochs: int = 0, of_train: bool = False) -> Case:
    """Labels of one part renumbered: what was class k is order[k]."""
    (x, y), (held, held_y) = corners(200), corners(120, seed=1)
    numbers = torch.tensor(order)
    y, held_y = (numbers[y], held_y) if of_train else (y, numbers[held_y])
    it = model()
    if epochs:
        it.fit(x, y, epochs=epochs, batch_size=16, verbose=False)
    return case_of(it, x, y, validation=(held, held_y))


@pytest.mark.parametrize("epochs", [0, 4])
def test_parts_that_agree_have_no_finding(epochs: int) -> None:
    assert CHECK.look(case([0, 1, 2, 3], epochs)) == []


@pytest.mark.parametrize(("epochs", "judge"), [(0, "a simple classifier"), (4, "the model")])
def test_labels_that_count_from_one_are_off_by_one(epochs: int, judge: str) -> None:
    it = case([1, 2, 3, 0], epochs)
    (found,) = CHECK.look(it)
    assert (found.path, found.evidence["labels_are"], found.evidence["judged_by"]) == ("validation", "off by 1", judge)
    assert found.evidence["which"] == "0 -> 3, 1 -> 0, 2 -> 1, 3 -> 2"
    assert found.evidence["right_on_validation"] == 0
    assert found.evidence["right_if_they_are_moved_back"] == 1
    assert found.remedy is not None
    mended = found.remedy.apply(it)
    assert mended.validation is not None
    assert torch.equal(mended.validation.y, corners(120, seed=1)[1])


def test_training_labels_one_less_are_seen_the_other_way_round() -> None:
    (found,) = CHECK.look(case([3, 0, 1, 2], of_train=True))
    assert found.evidence["labels_are"] == "off by 1"


def test_labels_that_fell_off_the_end_are_off_by_one_too() -> None:
    (found,) = CHECK.look(case([0, 0, 1, 2]))
    assert found.evidence["labels_are"] == "off by -1"
    assert found.evidence["which"] == "1 -> 2, 2 -> 3"


def test_two_classes_swapped() -> None:
    (found,) = CHECK.look(case([0, 2, 1, 3]))
    assert (found.evidence["labels_are"], found.evidence["which"]) == ("swapped", "1 -> 2, 2 -> 1")
    assert found.evidence["right_on_validation"] == 0.5


def test_three_classes_in_a_circle_are_permuted() -> None:
    (found,) = CHECK.look(case([0, 2, 3, 1]))
    assert found.evidence["labels_are"] == "permuted"


def test_a_class_that_is_taken_for_another_is_no_permutation() -> None:
    assert CHECK.look(case([0, 1, 2, 2])) == []


def test_no_validation_few_examples_and_numbers_are_skipped() -> None:
    x, y = corners(200)
    assert CHECK.look(case_of(model(), x, y)) == []
    assert CHECK.look(case_of(model(), *corners(10), validation=corners(4))) == []


@pytest.mark.parametrize(("move", "held"), [(1, True), (-1, True), (1, False)])
def test_labels_of_all_data_off_by_one_are_seen_beside_a_model_that_learned_others(move: int, held: bool) -> None:
    taught = case([0, 1, 2, 3], epochs=4)
    assert taught.validation is not None
    other = (taught.validation.x, (taught.validation.y + move) % 4)
    it = case_of(taught.model, taught.train.x, (taught.train.y + move) % 4, validation=other if held else None)
    (found,) = CHECK.look(it)
    assert (found.path, found.evidence["labels_are"]) == ("train", f"off by {move}")
    assert found.evidence["right_on_train"] == 0
    assert found.evidence["right_if_they_are_moved_back"] == 1
    told = diagnose(it)
    assert [one.check for k, one in enumerate(told.findings) if k not in told.follows] == ["shifted-labels"]


def test_one_answer_to_everything_is_no_shift() -> None:
    x, y = corners(100)
    y = (y == 0).long() * 3 + 1 - (y == 0).long()  # a fourth is class 3, the rest 1
    it = case_of(model(), x, y)
    it.model.weights["dense2.weight"].zero_()
    it.model.weights["dense2.bias"].copy_(torch.tensor([9.0, 0, 0, 0]))
    assert it.trained
    assert CHECK.look(it) == []  # 1 less is right on three fourths, which is chance
