"""Value and gradient of every loss equal those of PyTorch, and are finite for extreme outputs."""

import math
from typing import get_args

import pytest
import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.losses import (
    L1,
    LOSSES,
    BinaryCrossEntropy,
    Dice,
    Focal,
    GIoU,
    Hinge,
    Huber,
    Loss,
    NegativeLogLikelihood,
    Quadratic,
    QualityFocal,
    SoftmaxCrossEntropy,
)
from pellucid.losses.base import Reduction
from tests.cases import each
from tests.losses.cases import CASES, IMAGE_SHAPE, MASK_SHAPE, N_CLASSES, classes, outputs
from tests.losses.keypoint_cases import Oracle

CASES_AT_KINKS = ("l1 ties", "hinge at the margin", "giou ties")
each_case = each("name", CASES)


def value_and_gradient(oracle: Oracle, y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    y = y.clone().requires_grad_()
    value = oracle(y, target)
    return value.detach(), torch.autograd.grad(value, y)[0]


def cast_target(target: Tensor, dtype: torch.dtype) -> Tensor:
    return target.to(dtype) if target.is_floating_point() else target


def assert_close(actual: Tensor, expected: Tensor, rtol: float, atol: float) -> None:
    torch.testing.assert_close(actual.double(), expected, rtol=rtol, atol=atol)


@each_case
def test_value_and_gradient_are_those_of_pytorch_in_float64(name: str) -> None:
    loss, y, target, oracle = CASES[name]
    value, dy = loss(y, target)
    expected_value, expected_dy = value_and_gradient(oracle, y, target)
    assert value.shape == ()
    assert dy.shape == y.shape
    assert_close(value, expected_value, 1e-12, 1e-14)
    assert_close(dy, expected_dy, 1e-12, 1e-15)


@each_case
def test_values_and_gradients_in_float32_and_inference_mode_agree_with_float64(name: str) -> None:
    loss, y, target, oracle = CASES[name]
    with torch.inference_mode():
        value, dy = loss(y.float(), cast_target(target, torch.float32))
    expected_value, expected_dy = value_and_gradient(
        oracle, y.float().double(), cast_target(target, torch.float32).to(target.dtype)
    )
    assert value.dtype is dy.dtype is torch.float32
    assert_close(value, expected_value, 2e-6, 1e-6)
    assert_close(dy, expected_dy, 2e-5, 1e-6)


@each_case
def test_loss_of_bfloat16_outputs_is_computed_in_float32(name: str) -> None:
    loss, y, target, oracle = CASES[name]
    half_y = y.bfloat16()
    value, dy = loss(half_y, target)
    expected_value, expected_dy = value_and_gradient(oracle, half_y.double(), target)
    assert value.dtype is torch.float32
    assert dy.dtype is torch.bfloat16
    assert_close(value, expected_value, 1e-5, 1e-6)
    assert_close(dy, expected_dy, 1e-2, 1e-5)


@each_case
def test_gradient_predicts_the_change_along_a_random_direction(name: str) -> None:
    loss, y, target, _ = CASES[name]
    if name in CASES_AT_KINKS:
        y = y + 0.3 * outputs(*y.shape, seed=5)  # away from the kinks, where both sides differ
    direction, step = outputs(*y.shape, seed=4), 1e-6
    slope = (loss(y + step * direction, target)[0] - loss(y - step * direction, target)[0]) / (2 * step)
    assert_close((loss(y, target)[1] * direction).sum(), slope, 1e-6, 1e-8)


@each_case
def test_the_gradient_equals_autograd_of_the_value(name: str) -> None:
    loss, y, target, _ = CASES[name]
    if name in CASES_AT_KINKS:
        y = y + 0.3 * outputs(*y.shape, seed=5)
    value, dy = value_and_gradient(lambda y, t: loss(y, t)[0], y, target)
    assert_close(loss(y, target)[0], value, 0, 0)
    assert_close(loss(y, target)[1], dy, 1e-11, 1e-14)


@each_case
def test_arguments_are_unchanged_and_memory_format_does_not_matter(name: str) -> None:
    loss, y, target, _ = CASES[name]
    originals = (y.clone(), target.clone())
    value, dy = loss(y, target)
    assert torch.equal(y, originals[0])
    assert torch.equal(target, originals[1])
    reordered = y.transpose(0, 1).contiguous().transpose(0, 1)
    value_again, dy_again = loss(reordered, target)
    assert_close(value_again, value, 1e-13, 0)
    assert_close(dy_again, dy, 1e-13, 1e-16)


@each_case
def test_targets_of_the_cases_pass_the_check(name: str) -> None:
    loss, y, target, _ = CASES[name]
    loss.check(tuple(y.shape[1:]), target)


@pytest.mark.parametrize("size", [1e4, 1e8])
@pytest.mark.parametrize(
    "loss",
    [
        BinaryCrossEntropy(),
        BinaryCrossEntropy(pos_weight=3.0),
        SoftmaxCrossEntropy(),
        SoftmaxCrossEntropy(label_smoothing=0.1, class_weights=(1.0, 2.0)),
        Focal(),
        Focal(1.0),
        QualityFocal(),
        QualityFocal(1.0),
        Dice(),
        Hinge(power=2),
        Quadratic(),
        Huber(),
    ],
    ids=repr,
)
def test_extreme_outputs_have_finite_values_and_gradients(loss: Loss, size: float) -> None:
    y = torch.tensor([[size, -size], [-size, size]])
    for target in (torch.tensor([0, 1]), torch.tensor([1, 0])):
        value, dy = loss(y, target)
        assert value.isfinite()
        assert dy.isfinite().all()


def test_the_loss_of_the_worst_and_the_best_outputs_equals_the_formula() -> None:
    y = torch.tensor([[1e4, -1e4]])
    assert SoftmaxCrossEntropy()(y, torch.tensor([1]))[0].item() == pytest.approx(2e4)
    assert SoftmaxCrossEntropy()(y, torch.tensor([0]))[0].item() == 0
    assert BinaryCrossEntropy()(y, torch.tensor([1]))[0].item() == pytest.approx(2e4)
    assert BinaryCrossEntropy()(y, torch.tensor([0]))[0].item() == 0


def test_values_and_gradients_equal_those_by_hand() -> None:
    y = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    value, dy = Quadratic()(y, torch.tensor([0, 0]))  # 1/2n (0.25 + 0.25 + 0 + 0), n = 2
    assert value.item() == 0.125
    assert dy.tolist() == [[-0.25, 0.25], [0.0, 0.0]]
    value, dy = BinaryCrossEntropy()(torch.zeros(1, 3), torch.tensor([2]))  # three outputs of 1/2
    assert value.item() == pytest.approx(3 * math.log(2))
    assert dy.tolist() == [[0.5, 0.5, -0.5]]
    value, dy = SoftmaxCrossEntropy()(torch.zeros(1, 4), torch.tensor([2]))  # four outputs of 1/4
    assert value.item() == pytest.approx(math.log(4))
    assert dy.tolist() == [[0.25, 0.25, -0.75, 0.25]]
    value, dy = Hinge()(torch.tensor([[1.0, 2.0, -1.0]]), torch.tensor([0]))  # class 1 violates the margin: 1 - 1 + 2
    assert value.item() == pytest.approx(2 / 3)
    assert dy[0].tolist() == pytest.approx([-1 / 3, 1 / 3, 0])


@pytest.mark.parametrize("reduction", get_args(Reduction))
def test_a_batch_of_ignored_targets_has_a_loss_of_zero(reduction: Reduction) -> None:
    for loss in (
        SoftmaxCrossEntropy(ignore=9, reduction=reduction),
        NegativeLogLikelihood(ignore=9, reduction=reduction),
        SoftmaxCrossEntropy(0.1, None, 9, reduction),
        Focal(2.0, None, 9, reduction),
        Dice(None, 9),
    ):
        value, dy = loss(outputs(2, 3).log_softmax(1), torch.tensor([9, 9]))
        assert value.item() == 0
        assert not dy.any()


def test_small_integer_dtypes_are_accepted_as_classes() -> None:
    rows, images = (outputs(7, N_CLASSES), classes(7)), (outputs(*IMAGE_SHAPE), classes(*MASK_SHAPE))
    for name in (
        "quadratic",
        "binary_cross_entropy",
        "softmax_cross_entropy",
        "nll",
        "hinge",
        "focal",
        "dice",
        "quality_focal",
    ):
        for y, target in (rows,) if name == "hinge" else (rows, images):
            for dtype in (torch.uint8, torch.int32):
                actual, expected = LOSSES[name]()(y, target.to(dtype)), LOSSES[name]()(y, target)
                assert torch.equal(actual[0], expected[0])
                assert torch.equal(actual[1], expected[1])


def test_predictions_are_probabilities_or_values_of_the_outputs() -> None:
    y = outputs(4, N_CLASSES)
    assert torch.equal(Quadratic().predict(y), y)
    assert torch.equal(L1().predict(y), y)
    assert torch.equal(Huber().predict(y), y)
    assert torch.equal(Hinge().predict(y), y)
    assert_close(BinaryCrossEntropy().predict(y), 1 / (1 + torch.exp(-y)), 1e-12, 0)
    probabilities = torch.exp(y) / torch.exp(y).sum(1, keepdim=True)
    assert_close(SoftmaxCrossEntropy().predict(y), probabilities, 1e-12, 0)
    assert_close(NegativeLogLikelihood().predict(probabilities.log()), probabilities, 1e-12, 0)


def test_losses_are_registered_by_name() -> None:
    assert {name: type(loss_type()).__name__ for name, loss_type in LOSSES.items()} == {
        "quadratic": "Quadratic",
        "probability_cross_entropy": "ProbabilityCrossEntropy",
        "l1": "L1",
        "huber": "Huber",
        "binary_cross_entropy": "BinaryCrossEntropy",
        "softmax_cross_entropy": "SoftmaxCrossEntropy",
        "auxiliary_cross_entropy": "AuxiliaryCrossEntropy",
        "nll": "NegativeLogLikelihood",
        "hinge": "Hinge",
        "focal": "Focal",
        "dice": "Dice",
        "quality_focal": "QualityFocal",
        "giou": "GIoU",
        "heat_maps": "HeatMaps",
        "coordinates": "Coordinates",
    }


@pytest.mark.parametrize(("target_point", "cost"), [((3.0, 4.0), 1.0), ((5.0, 9.0), 2.0)])
def test_boxes_without_an_area_have_a_finite_giou(target_point: tuple[float, float], cost: float) -> None:
    """Two points have an IoU of 0; for equal points, the hull has no area outside of them."""
    value, dy = GIoU()(torch.tensor([[3.0, 4.0, 3.0, 4.0]]), torch.tensor([[*target_point, *target_point]]))
    assert value.item() == pytest.approx(cost)
    assert bool(dy.isfinite().all())


def test_giou_of_an_inverted_box_is_that_of_its_sorted_corners() -> None:
    """A box of 2 x 2 around a target of 1 x 1: I = 1, U = C = 4; the area changes by 2 per unit of each side."""
    value, dy = GIoU()(torch.tensor([[1.5, -0.5, -0.5, 1.5]]), torch.tensor([[0.0, 0.0, 1.0, 1.0]]))
    assert value.item() == pytest.approx(1 - 1 / 4)
    assert dy.tolist()[0] == pytest.approx([2 / 16, -2 / 16, -2 / 16, 2 / 16])


def test_giou_refuses_inverted_targets() -> None:
    with pytest.raises(PellucidError, match="target of example 1 is"):
        GIoU().check((4,), torch.tensor([[0.0, 0.0, 1.0, 1.0], [2.0, 0.0, 1.0, 1.0]]))


@pytest.mark.parametrize("scale", [1e-15, 1e15])
def test_giou_does_not_depend_on_the_unit_of_length(scale: float) -> None:
    y, target = torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 1.0, 3.0, 2.0]])
    value, dy = GIoU()(y * scale, target * scale)
    assert value.item() == pytest.approx(2 - 1 / 5 - 5 / 6)
    torch.testing.assert_close(dy * scale, GIoU()(y, target)[1])
