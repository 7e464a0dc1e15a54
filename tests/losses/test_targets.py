"""Losses refuse targets of other shapes, classes that do not exist, empty batches and invalid hyperparameters."""

import dataclasses
import math
from collections.abc import Callable
from typing import get_args

import pytest
import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.losses import (
    L1,
    LOSSES,
    BinaryCrossEntropy,
    Coordinates,
    Dice,
    Focal,
    HeatMaps,
    Hinge,
    Huber,
    Loss,
    NegativeLogLikelihood,
    Quadratic,
    QualityFocal,
    SoftmaxCrossEntropy,
)
from pellucid.losses.base import Reduction

N_CLASSES = 5


def outputs(*shape: int) -> Tensor:
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


CLASS_LOSSES = [
    SoftmaxCrossEntropy(),
    NegativeLogLikelihood(),
    Hinge(),
    Quadratic(),
    L1(),
    BinaryCrossEntropy(),
    Focal(),
    Dice(),
    QualityFocal(),
]


@pytest.mark.parametrize("loss", [*CLASS_LOSSES, SoftmaxCrossEntropy(0.1), SoftmaxCrossEntropy(ignore=-7)], ids=repr)
@pytest.mark.parametrize("class_index", [-1, -100, N_CLASSES])
def test_a_class_that_does_not_exist_is_refused(loss: Loss, class_index: int) -> None:
    target = torch.tensor([0, class_index, 1])
    with pytest.raises(PellucidError, match="outputs for 0 to 4"):
        loss(outputs(3, N_CLASSES), target)
    with pytest.raises(PellucidError, match="outputs for 0 to 4"):
        loss.check((N_CLASSES,), target)


@pytest.mark.parametrize("loss", [*CLASS_LOSSES, Huber(), SoftmaxCrossEntropy(0.1)], ids=repr)
@pytest.mark.parametrize(
    "target",
    [
        torch.zeros(4, 2),
        torch.zeros(4, 1, N_CLASSES),
        torch.zeros(()),
        torch.zeros(4, dtype=torch.long),
        torch.zeros(3),
    ],
    ids=lambda target: f"{tuple(target.shape)} {target.dtype}",
)
def test_targets_that_do_not_fit_are_refused(loss: Loss, target: Tensor) -> None:
    with pytest.raises(PellucidError, match="do not fit"):
        loss(outputs(3, N_CLASSES), target)


@pytest.mark.parametrize("loss", [*CLASS_LOSSES, Huber(), SoftmaxCrossEntropy(0.1)], ids=repr)
@pytest.mark.parametrize(
    "target", [torch.zeros(4, 2), torch.zeros(4, 1, N_CLASSES), torch.zeros(3)], ids=lambda target: str(target.shape)
)
def test_data_sets_whose_targets_do_not_fit_are_refused(loss: Loss, target: Tensor) -> None:
    with pytest.raises(PellucidError, match="do not fit"):
        loss.check((N_CLASSES,), target)


@pytest.mark.parametrize(
    ("loss", "outputs", "targets", "message"),
    [
        (Quadratic(), (2,), torch.tensor([[0.0, math.nan]]), "finite"),
        (L1(), (2,), torch.tensor([[0.0, math.inf]]), "finite"),
        (BinaryCrossEntropy(), (2,), torch.tensor([[0.0, 1.5]]), "from 0 to 1"),
        (BinaryCrossEntropy(), (1,), torch.tensor([0, 2]), "from 0 to 1"),
        (SoftmaxCrossEntropy(), (2,), torch.tensor([[0.5, 0.6]]), "sum to 1"),
        (SoftmaxCrossEntropy(), (2,), torch.tensor([[1.5, -0.5]]), "sum to 1"),
        (SoftmaxCrossEntropy(), (2,), torch.tensor([[1.0, 1.0]]), "several classes .* use BinaryCrossEntropy"),
        (SoftmaxCrossEntropy(class_weights=(1.0,)), (2,), torch.tensor([0]), "1 class_weights for 2 classes"),
        (SoftmaxCrossEntropy(class_weights=(1.0,)), (2,), torch.tensor([[0.5, 0.5]]), "1 class_weights for 2"),
        (NegativeLogLikelihood((1.0, 2.0)), (3,), torch.tensor([0]), "2 class_weights for 3"),
        (BinaryCrossEntropy(class_weights=(1.0,)), (2,), torch.tensor([0]), "1 class_weights for 2"),
        (BinaryCrossEntropy(pos_weight=(1.0,)), (2,), torch.tensor([0]), "1 pos_weight for 2"),
        (Hinge(class_weights=(1.0,)), (2,), torch.tensor([0]), "1 class_weights for 2"),
        (Hinge(), (1,), torch.tensor([0]), "a score for each class"),
    ],
)
def test_data_sets_with_impossible_targets_are_refused(
    loss: Loss, outputs: tuple[int, ...], targets: Tensor, message: str
) -> None:
    with pytest.raises(PellucidError, match=message):
        loss.check(outputs, targets)


@pytest.mark.parametrize("target", [torch.tensor([0, 1, 1]), torch.full((3, N_CLASSES), 0.2)], ids=["classes", "soft"])
def test_a_wrong_number_of_class_weights_is_refused(target: Tensor) -> None:
    with pytest.raises(PellucidError, match="2 class_weights for 5 classes"):
        SoftmaxCrossEntropy(class_weights=(1.0, 2.0))(outputs(3, N_CLASSES), target)


@pytest.mark.parametrize(
    "loss",
    [NegativeLogLikelihood((1.0, 2.0)), Hinge(1.0, 1, (1.0, 2.0)), BinaryCrossEntropy(class_weights=(1.0, 2.0))],
    ids=repr,
)
def test_a_wrong_number_of_weights_is_refused_by_every_loss(loss: Loss) -> None:
    with pytest.raises(PellucidError, match="2 class_weights for 5 classes"):
        loss(outputs(3, N_CLASSES), torch.tensor([0, 1, 1]))


def test_a_wrong_number_of_positive_weights_is_refused() -> None:
    with pytest.raises(PellucidError, match="2 pos_weight for 5 classes"):
        BinaryCrossEntropy(pos_weight=(1.0, 2.0))(outputs(3, N_CLASSES), torch.tensor([0, 1, 1]))
    with pytest.raises(PellucidError, match="1 class_weights for 0 classes"):
        BinaryCrossEntropy(class_weights=(1.0,))(outputs(3), torch.tensor([0.0, 1.0, 1.0]))


NO_CLASSES = torch.zeros(0, dtype=torch.long)


@pytest.mark.parametrize("reduction", get_args(Reduction))
@pytest.mark.parametrize(
    ("loss", "target"),
    [
        *((loss_type(), NO_CLASSES) for loss_type in LOSSES.values() if hasattr(loss_type, "reduction")),
        (Quadratic(), torch.zeros(0, 3)),
        (Huber(), torch.zeros(0, 3)),
        (BinaryCrossEntropy((1.0, 2.0, 3.0)), NO_CLASSES),
        (Hinge(class_weights=(1.0, 2.0, 3.0)), NO_CLASSES),
        (NegativeLogLikelihood((1.0, 2.0, 3.0), 9), NO_CLASSES),
        (SoftmaxCrossEntropy(ignore=9), NO_CLASSES),
        (SoftmaxCrossEntropy(0.1, (1.0, 2.0, 3.0)), NO_CLASSES),
        (SoftmaxCrossEntropy(), torch.zeros(0, 3)),
    ],
    ids=lambda part: repr(part) if isinstance(part, Loss) else str(tuple(part.shape)),
)
def test_a_batch_without_examples_is_refused(loss: Loss, target: Tensor, reduction: Reduction) -> None:
    loss = dataclasses.replace(loss, reduction=reduction)  # type: ignore[call-arg]
    for y in (outputs(0, 3), outputs(0, 3).bfloat16()):
        with pytest.raises(PellucidError, match="a batch without examples has no loss; leave it out"):
            loss(y, target)


@pytest.mark.parametrize("loss", [Dice(), HeatMaps(), Coordinates()], ids=repr)
def test_a_batch_without_examples_is_refused_by_losses_without_reduction(loss: Loss) -> None:
    with pytest.raises(PellucidError, match="a batch without examples has no loss; leave it out"):
        loss(outputs(0, 2, 3, 3) if not isinstance(loss, Coordinates) else outputs(0, 4), torch.zeros(0, 2, 3))


@pytest.mark.parametrize(
    ("loss", "outputs", "targets", "message"),
    [
        (HeatMaps(), (4, 5, 6), torch.zeros(2, 3, 3), r"targets of shape \(3, 3\) .* outputs for 4 points"),
        (HeatMaps(), (4, 5, 6), torch.zeros(2, 4, 2), "give floats"),
        (HeatMaps(), (4, 5, 6), torch.zeros(2, 4, 3, dtype=torch.long), "give floats"),
        (HeatMaps(), (4, 5, 6), torch.full((2, 4, 3), math.nan), "finite"),
        (HeatMaps(), (4,), torch.zeros(2, 4, 3), r"outputs \(4,\), not a map for each point"),
        (Coordinates(), (8,), torch.zeros(2, 3, 3), "outputs for 4 points"),
        (Coordinates(), (7,), torch.zeros(2, 3, 3), r"outputs \(7,\), not x and y of each point"),
        (Coordinates(), (8,), torch.full((2, 4, 3), math.inf), "finite"),
    ],
)
def test_key_points_that_do_not_fit_are_refused(
    loss: Loss, outputs: tuple[int, ...], targets: Tensor, message: str
) -> None:
    with pytest.raises(PellucidError, match=message):
        loss.check(outputs, targets)


def test_a_batch_without_labelled_points_has_a_loss_of_zero() -> None:
    for loss, y in ((HeatMaps(), outputs(2, 3, 4, 5)), (Coordinates(), outputs(2, 6))):
        value, dy = loss(y, torch.zeros(2, 3, 3))
        assert value.item() == 0
        assert not dy.any()
        assert loss.total_weight(torch.zeros(2, 3, 3)) == 0


def test_batches_are_weighted_by_their_number_of_labelled_points() -> None:
    target = torch.ones(2, 3, 3)
    target[0, :2] = 0
    y = outputs(2, 3, 4, 5)
    for loss in (HeatMaps(), HeatMaps(sigma=0, l1=0)):
        weighted_values = [
            loss(y[n : n + 1], target[n : n + 1])[0] * loss.total_weight(target[n : n + 1]) for n in (0, 1)
        ]
        torch.testing.assert_close(sum(weighted_values) / loss.total_weight(target), loss(y, target)[0])


def test_heat_maps_without_pixels_are_refused() -> None:
    for loss in (SoftmaxCrossEntropy(), NegativeLogLikelihood(), Quadratic(reduction="mean")):
        with pytest.raises(PellucidError, match="leave it out"):
            loss(outputs(2, 3, 0, 4), torch.zeros(2, 0, 4, dtype=torch.long))


@pytest.mark.parametrize(
    "build",
    [
        lambda: Quadratic(reduction="median"),  # type: ignore[arg-type]
        lambda: Huber(delta=0),
        lambda: Huber(delta=math.nan),
        lambda: BinaryCrossEntropy(pos_weight=-1),
        lambda: BinaryCrossEntropy(pos_weight=(1.0, 0.0)),
        lambda: BinaryCrossEntropy(pos_weight=[1.0]),  # type: ignore[arg-type]
        lambda: BinaryCrossEntropy(pos_weight=()),
        lambda: BinaryCrossEntropy(pos_weight=True),
        lambda: BinaryCrossEntropy(pos_weight=(1.0, True)),
        lambda: BinaryCrossEntropy(class_weights=(True, False)),
        lambda: Huber(delta=True),
        lambda: BinaryCrossEntropy(class_weights=(-1.0,)),
        lambda: SoftmaxCrossEntropy(reduction="none"),  # type: ignore[arg-type]
        lambda: NegativeLogLikelihood(reduction="none"),  # type: ignore[arg-type]
        lambda: Hinge(reduction="none"),  # type: ignore[arg-type]
        lambda: Hinge(class_weights=(0.0, 0.0)),
        lambda: SoftmaxCrossEntropy(label_smoothing=1.5),
        lambda: SoftmaxCrossEntropy(label_smoothing="a bit"),  # type: ignore[arg-type]
        lambda: SoftmaxCrossEntropy(class_weights=(1.0, -1.0)),
        lambda: SoftmaxCrossEntropy(class_weights=(0.0, 0.0)),
        lambda: NegativeLogLikelihood(class_weights=[1.0]),  # type: ignore[arg-type]
        lambda: Hinge(margin=-1),
        lambda: Hinge(power=3),  # type: ignore[arg-type]
        lambda: HeatMaps(stride=0),
        lambda: HeatMaps(sigma=0.1),
        lambda: HeatMaps(sigma=math.inf),
        lambda: HeatMaps(l1=-1.0),
        lambda: HeatMaps(decode="mean"),  # type: ignore[arg-type]
        lambda: Coordinates((0, 5)),
    ],
)
def test_invalid_hyperparameters_are_refused(build: Callable[[], Loss]) -> None:
    with pytest.raises(PellucidError):
        build()


@pytest.mark.parametrize("loss", [SoftmaxCrossEntropy(), SoftmaxCrossEntropy(ignore=9), NegativeLogLikelihood()])
def test_classes_stored_as_floats_are_answered_with_their_conversion(loss: Loss) -> None:
    classes = torch.tensor([0.0, 2.0, 1.0])
    with pytest.raises(PellucidError, match=r"classes must be integers: give y\.long\(\), or y\.astype\(int\)"):
        loss.check((3,), classes)
    with pytest.raises(PellucidError, match=r"classes must be integers: give y\.long\(\)"):
        loss(torch.rand(3, 3), classes)
    with pytest.raises(PellucidError, match=r"do not fit .*; give (a probability|one integer class)"):
        loss.check((3,), classes + 0.5)


def test_one_class_out_of_range_is_named_in_the_singular() -> None:
    with pytest.raises(PellucidError, match="the targets contain class 13, but the network has outputs for 0 to 2"):
        SoftmaxCrossEntropy().check((3,), torch.tensor([13, 13]))
