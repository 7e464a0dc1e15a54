"""Classes with few examples or none."""

import torch

from pellucid.doctor import Case, case_of
from pellucid.doctor.checks.class_imbalance import CHECK
from tests.doctor.examined import corners, model


def labels(*counts: int) -> torch.Tensor:
    return torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))


def case(y: torch.Tensor, held: torch.Tensor | None = None, names: bool = True) -> Case:
    it = model(classes=("a", "b", "c", "d") if names else None)
    validation = None if held is None else (corners(len(held))[0], held)
    return case_of(it, corners(len(y))[0], y, validation=validation)


def test_classes_of_about_one_size_have_no_finding() -> None:
    assert CHECK.look(case(labels(50, 60, 40, 30), labels(12, 9, 11, 8))) == []


def test_a_tenth_is_too_few() -> None:
    (found,) = CHECK.look(case(labels(100, 100, 10, 90)))
    assert (found.path, found.evidence["ratio"], found.evidence["the_smallest_class"]) == ("train", 10, "c")
    assert (found.evidence["of_the_largest_class"], found.evidence["of_the_smallest_class"]) == (100, 10)


def test_in_few_examples_it_is_chance() -> None:
    assert CHECK.look(case(labels(10, 1, 1, 8))) == []


def test_a_class_that_training_lacks_is_found_against_validation() -> None:
    (found,) = CHECK.look(case(labels(100, 100, 0, 100), labels(20, 20, 20, 20)))
    assert (found.path, found.evidence["classes_missing"], found.evidence["the_first_of_them"]) == ("train", 1, "c")
    assert (found.evidence["examples_of_them_in_validation"], found.evidence["expected_here"]) == (20, 75)


def test_classes_that_validation_lacks_are_found_unless_it_is_small() -> None:
    (found,) = CHECK.look(case(labels(50, 50, 50, 50), labels(0, 20, 20, 0)))
    assert (found.path, found.evidence["classes_missing"], found.evidence["expected_here"]) == ("validation", 2, 20)
    assert CHECK.look(case(labels(50, 50, 50, 50), labels(0, 2, 3, 2))) == []


def test_a_named_class_that_is_nowhere_is_found() -> None:
    (found,) = CHECK.look(case(labels(100, 100, 100), labels(20, 20, 20)))
    assert (found.path, found.evidence["without_examples"], found.evidence["the_first_of_them"]) == ("train", 1, "d")
    assert CHECK.look(case(labels(100, 100, 100), names=False)) == []


def test_few_of_one_class_and_numbers_are_skipped() -> None:
    assert CHECK.look(case(labels(5))) == []
    x, y = corners(40)
    assert CHECK.look(case_of(model(loss="quadratic", metrics=()), x, torch.rand(40, 4))) == []
    assert CHECK.look(case_of(model(), x[:10], y[:10], validation=(x[:3], y[:3]))) == []


def test_labels_that_are_all_one_class_are_reported_with_what_the_network_has() -> None:
    (found,) = CHECK.look(case(labels(40), labels(20), names=False))
    assert (found.path, found.evidence["the_only_label"]) == ("train", "0")
    assert found.evidence["classes_of_the_network"] == 4
    assert found.cause == "all labels are 0; the other 3 classes are missing"
    (named,) = CHECK.look(case(labels(0, 40)))
    assert named.evidence["the_only_label"] == "b"
    (held,) = CHECK.look(case(labels(40), labels(20, 20), names=False))
    assert held.evidence["classes_missing"] == 1  # it is the parts that differ
