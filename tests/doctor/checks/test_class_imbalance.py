"""Classes with few examples or none."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from pellucid.combine import Sequential
from pellucid.doctor import Case, case_of
from pellucid.doctor.checks.class_imbalance import CHECK
from pellucid.layers import Conv2d
from pellucid.losses import BinaryCrossEntropy, SoftmaxCrossEntropy
from pellucid.model import Model
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


def masks_case(side: int, loss: Any, bias: float, y: torch.Tensor | None = None) -> Case:
    """Return the case of a segmenter that is trained to predict by its bias alone.

    side: of the square of foreground in masks of 20 x 20 pixels. bias: of the foreground.
    """
    x = torch.rand(12, 1, 20, 20, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros(12, 20, 20, dtype=torch.int64)
    masks[:, 4 : 4 + side, 4 : 4 + side] = 1
    is_binary = isinstance(loss, BinaryCrossEntropy)
    model = Model(Sequential(Conv2d(1 if is_binary else 2, 1)), loss, input_shape=(1, 20, 20), metrics=())
    start = model.weights["conv2d1.bias"].clone()
    model.weights["conv2d1.weight"].zero_()
    model.weights["conv2d1.bias"].copy_(start + (bias if is_binary else torch.tensor([0.0, bias])))
    return case_of(model, x, masks[:, None].float() if is_binary else masks)


LOSSES = [SoftmaxCrossEntropy(), BinaryCrossEntropy()]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    ("side", "bias", "is_found"), [(2, -9.0, True), (6, -9.0, True), (2, 9.0, False), (12, -9.0, False)]
)
def test_predicting_the_background_alone_is_found(loss: Any, side: int, bias: float, is_found: bool) -> None:
    found = CHECK.find(masks_case(side, loss, bias))
    assert len(found) == is_found
    for one in found:
        assert one.evidence["foreground_pixels_of_the_masks"] == pytest.approx(side**2 / 400)
        assert one.evidence["foreground_pixels_of_the_predictions"] == 0
        assert one.remedy is not None
        changed = one.remedy.apply(masks_case(side, loss, bias)).model.loss
        ratio = (400 / side**2 - 1) ** 0.5
        if isinstance(loss, BinaryCrossEntropy):
            assert changed.pos_weight == pytest.approx(ratio)
        else:
            assert changed.class_weights == pytest.approx((1, ratio))


@pytest.mark.parametrize("ignored", [255, 2, -1])
@pytest.mark.parametrize("side", [0, 2])
def test_ignored_pixels_are_no_foreground(side: int, ignored: int) -> None:
    y = torch.zeros(12, 20, 20, dtype=torch.int64)
    y[:, 0] = ignored
    y[:, 4 : 4 + side, 4 : 4 + side] = 1
    case = masks_case(side, SoftmaxCrossEntropy(ignore=ignored), -9.0)
    case = replace(case, train=replace(case.train, y=y))
    found = CHECK.find(case)
    assert len(found) == (side > 0)
    for one in found:
        assert one.evidence["foreground_pixels_of_the_masks"] == pytest.approx(4 / 380)
        assert one.remedy is not None
        assert one.remedy.apply(case).model.loss.class_weights == pytest.approx((1, (376 / 4) ** 0.5))
