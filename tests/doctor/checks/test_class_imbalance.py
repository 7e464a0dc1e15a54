"""Classes with few examples or none."""

import pytest
import torch

from pellucid import Dense, Model, Sequential
from pellucid.doctor import Case, case_of
from pellucid.doctor.checks.class_imbalance import CHECK
from pellucid.optim import SGD
from tests.doctor.small_cases import corners, make_model


def labels(*counts: int) -> torch.Tensor:
    return torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))


def make_case(y: torch.Tensor, held_out: torch.Tensor | None = None, has_names: bool = True) -> Case:
    model = make_model(classes=("a", "b", "c", "d") if has_names else None)
    validation = None if held_out is None else (corners(len(held_out))[0], held_out)
    return case_of(model, corners(len(y))[0], y, validation=validation)


def test_classes_of_about_one_size_have_no_finding() -> None:
    assert CHECK.find(make_case(labels(50, 60, 40, 30), labels(12, 9, 11, 8))) == []


def test_a_class_with_a_tenth_of_the_examples_is_found() -> None:
    (finding,) = CHECK.find(make_case(labels(100, 100, 10, 90)))
    assert (finding.path, finding.evidence["ratio"], finding.evidence["the_smallest_class"]) == ("train", 10, "c")
    assert (finding.evidence["of_the_largest_class"], finding.evidence["of_the_smallest_class"]) == (100, 10)


def test_imbalance_of_few_examples_is_chance() -> None:
    assert CHECK.find(make_case(labels(10, 1, 1, 8))) == []


def test_a_validation_class_that_is_missing_from_training_is_found() -> None:
    (finding,) = CHECK.find(make_case(labels(100, 100, 0, 100), labels(20, 20, 20, 20)))
    assert (finding.path, finding.evidence["classes_missing"], finding.evidence["the_first_of_them"]) == (
        "train",
        1,
        "c",
    )
    assert (finding.evidence["examples_of_them_in_validation"], finding.evidence["expected_here"]) == (20, 75)


def test_classes_that_validation_lacks_are_found_unless_it_is_small() -> None:
    (finding,) = CHECK.find(make_case(labels(50, 50, 50, 50), labels(0, 20, 20, 0)))
    assert (finding.path, finding.evidence["classes_missing"], finding.evidence["expected_here"]) == (
        "validation",
        2,
        20,
    )
    assert CHECK.find(make_case(labels(50, 50, 50, 50), labels(0, 2, 3, 2))) == []


def test_few_examples_and_regression_targets_are_skipped() -> None:
    assert CHECK.find(make_case(labels(5))) == []
    x, y = corners(40)
    assert CHECK.find(case_of(make_model(loss="quadratic", metrics=()), x, torch.rand(40, 4))) == []
    assert CHECK.find(case_of(make_model(), x[:10], y[:10], validation=(x[:3], y[:3]))) == []


@pytest.mark.parametrize("loss", ["binary_cross_entropy", "softmax_cross_entropy"])
@pytest.mark.parametrize("n_rare", [8, 15])
def test_a_rare_class_is_found_unless_the_trained_model_predicts_it(loss: str, n_rare: int) -> None:
    x, y = torch.rand(300, 4, generator=torch.Generator().manual_seed(0)), torch.zeros(300, 1)
    y[:n_rare] = 1
    targets = y if loss == "binary_cross_entropy" else y.flatten().long()
    for signal, n_findings in ((0.0, 1), (3.0, 0)):
        inputs = x + signal * y
        net = Sequential(scores=Dense(1 if loss == "binary_cross_entropy" else 2))
        model = Model(net, loss=loss, optimizer=SGD(0.2), metrics=())
        model.fit(inputs, targets, epochs=100, batch_size=30, verbose=False)
        assert len(CHECK.find(case_of(model, inputs, targets))) == n_findings


def test_values_of_a_regression_that_are_whole_are_no_classes() -> None:
    y = torch.zeros(300, 1)
    y[:8] = 2
    model = Model(Sequential(scores=Dense(1)), loss="quadratic", metrics=())
    model.build((4,))
    assert CHECK.find(case_of(model, torch.rand(300, 4), y)) == []
