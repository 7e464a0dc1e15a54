"""Suspects in the weights of classes, of losses of the library and of own ones with the same gradients."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.combine import Sequential
from pellucid.doctor import Case, case_of, diagnose
from pellucid.doctor.experiments import with_causes
from pellucid.doctor.paired import PairedTrainings
from pellucid.doctor.suspects.class_weights import class_balance_suspects, inverted_weight_suspects, weighing
from pellucid.layers import Conv2d, Dense
from pellucid.losses import BinaryCrossEntropy, Loss, SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.opening.torch_training.losses import TorchCriterion
from pellucid.optim import Momentum
from pellucid.task import task_of


class OwnBinary(nn.Module):
    """Binary cross-entropy that is multiplied by the weight of each target's class."""

    def __init__(self, negative: float, positive: float) -> None:
        super().__init__()
        self.weights = torch.tensor([negative, positive])

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        loss = F.binary_cross_entropy_with_logits(outputs, targets, reduction="none")
        return (loss * self.weights[targets.long()]).mean()


class OwnClasses(nn.Module):
    """Cross-entropy of classes with weights."""

    def __init__(self, weights: list[float]) -> None:
        super().__init__()
        self.weights = torch.tensor(weights)

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets, self.weights)


def squared_probabilities(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.sigmoid() - targets).square().mean()


def binary_case(loss: Loss, share: float = 0.2, n: int = 400) -> Case:
    y = (torch.rand(n, 1, generator=torch.Generator().manual_seed(0)) < share).float()
    model = Model(Sequential(Dense(1)), loss, input_shape=(3,), metrics=())
    return case_of(model, torch.rand(n, 3), y, epochs=1)


def class_case(loss: Loss, counts: tuple[int, ...]) -> Case:
    y = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    model = Model(Sequential(Dense(len(counts))), loss, input_shape=(3,), metrics=())
    return case_of(model, torch.rand(len(y), 3), y, epochs=1)


@pytest.mark.parametrize(
    ("negative", "positive", "is_inverted"),
    [(1.6, 0.4, True), (0.8, 0.2, True), (1.0, 0.4, True), (1.0, 1.0, False), (0.5, 2.0, False), (1.0, 4.0, False)],
)
@pytest.mark.parametrize("is_own", [True, False])
def test_weights_of_positive_targets_the_wrong_way_round_are_a_suspect(
    negative: float, positive: float, is_inverted: bool, is_own: bool
) -> None:
    own, plain = TorchCriterion(OwnBinary(negative, positive)), BinaryCrossEntropy(positive / negative)
    case = binary_case(own if is_own else plain)
    found = weighing(case)
    assert found is not None
    assert float(found.weights[1] / found.weights[0]) == pytest.approx(positive / negative, rel=1e-3)
    suspects = list(inverted_weight_suspects(case))
    assert [one.unusual for one in suspects] == [True] * is_inverted
    for one in suspects:
        loss: Any = one.apply(case).model.loss
        assert loss.pos_weight == pytest.approx(4, rel=0.2)


@pytest.mark.parametrize("is_own", [True, False])
@pytest.mark.parametrize(
    ("weights", "counts", "is_inverted"),
    [
        ((2.0, 0.5, 0.25), (200, 50, 25), True),
        ((1.4, 0.7, 0.5), (200, 50, 25), True),
        ((0.25, 1.0, 2.0), (200, 50, 25), False),
        ((1.0, 1.0, 1.0), (200, 50, 25), False),
        ((3.0, 1.0, 2.0), (90, 95, 90), False),
        ((1.0, 3.0, 0.5), (200, 50, 25), False),
    ],
)
def test_weights_of_classes_the_wrong_way_round_are_a_suspect(
    weights: tuple[float, ...], counts: tuple[int, ...], is_inverted: bool, is_own: bool
) -> None:
    own, plain = TorchCriterion(OwnClasses([*weights])), SoftmaxCrossEntropy(class_weights=weights)
    case = class_case(own if is_own else plain, counts)
    suspects = list(inverted_weight_suspects(case))
    assert len(suspects) == is_inverted
    for one in suspects:
        loss: Any = one.apply(case).model.loss
        assert loss.class_weights[2] / loss.class_weights[0] == pytest.approx(counts[0] / counts[2])


def test_other_own_losses_have_no_weights() -> None:
    assert weighing(binary_case(TorchCriterion(squared_probabilities))) is None
    assert list(class_balance_suspects(binary_case(TorchCriterion(squared_probabilities), share=0.02))) == []


@pytest.mark.parametrize(("share", "is_rare"), [(0.005, True), (0.02, True), (0.4, False)])
@pytest.mark.parametrize("positive", [1.0, 8.0])
def test_rare_pixels_are_a_suspect_of_an_own_loss_without_weights(share: float, is_rare: bool, positive: float) -> None:
    y = (torch.rand(12, 1, 40, 40, generator=torch.Generator().manual_seed(0)) < share).float()
    model = Model(Conv2d(1, 1), TorchCriterion(OwnBinary(1.0, positive)), input_shape=(1, 40, 40), metrics=())
    case = case_of(model, torch.rand(12, 1, 40, 40), y, epochs=1)
    found = list(class_balance_suspects(case))
    assert len(found) == (is_rare and positive == 1.0)
    for one in found:
        loss: Any = one.apply(case).model.loss
        assert loss.pos_weight == pytest.approx(((1 - share) / share) ** 0.5, rel=0.2)


@pytest.mark.parametrize(("found_share", "is_suspect"), [(0.3, True), (1.0, False)])
@pytest.mark.parametrize(("rare", "is_rare"), [(30, True), (200, False)])
def test_a_rare_class_that_held_out_examples_are_not_found_of_is_a_suspect(
    found_share: float, is_suspect: bool, rare: int, is_rare: bool
) -> None:
    y = torch.arange(2).repeat_interleave(torch.tensor([400, rare]))
    held_out_y = torch.arange(2).repeat_interleave(torch.tensor([100, 20]))
    held_out_x = F.one_hot(held_out_y, 2).float()
    held_out_x[100 + int(20 * found_share) :] = torch.tensor([1.0, 0.0])
    models = [Model(Sequential(Dense(2)), SoftmaxCrossEntropy(), input_shape=(2,), metrics=()) for _ in range(2)]
    models[0].weights["dense1.weight"].copy_(8 * torch.eye(2))
    case = case_of(
        models[0], F.one_hot(y, 2).float(), y, validation=(held_out_x, held_out_y), begin=lambda: models[1], epochs=1
    )
    found = list(class_balance_suspects(case))
    assert [one.unusual for one in found] == [True] * (is_suspect and is_rare)


@pytest.mark.parametrize(("share", "size", "distance", "rate", "is_cause"), [
    (0.03, 100, 5.0, 0.01, True),  # weights cost little accuracy
    (0.03, 30, 5.0, 0.003, True),
    (0.05, 4, 1.5, 0.05, False),  # chance plays a large part, so that weights mainly move the threshold
    (0.14, 4, 1.2, 0.05, False),
])  # fmt: skip
def test_weights_that_only_move_the_threshold_show_no_imbalance(
    share: float, size: int, distance: float, rate: float, is_cause: bool
) -> None:
    rng = torch.Generator().manual_seed(0)
    y = (torch.rand(1600, 1, generator=rng) < share).float()
    x = torch.randn(1600, size, generator=rng) + distance / size**0.5 * y
    model = Model(Sequential(Dense(1)), BinaryCrossEntropy(reduction="mean"), Momentum(rate), input_shape=(size,))
    train, validation = (x[:800], y[:800]), (x[800:], y[800:])
    history = model.fit(*train, epochs=8, batch_size=32, validation=validation, verbose=False)
    case = case_of(model, *train, validation=validation, history=history, epochs=8, batch_size=32)
    trainings = PairedTrainings(task_of(case.model), case, lambda text: None)
    (weighted,) = class_balance_suspects(case)
    cause = trainings.measure(case, weighted, {}, trainings.max_steps)
    assert trainings.effects[0].gains[0] > 0.1  # of the mean recall
    assert (cause is not None) is is_cause
    diagnosis = diagnose(case)
    assert [diagnosis.kind(k) for k in range(len(diagnosis.causes))] == ["cause"] * is_cause


def first_columns(outputs: Tensor, targets: Tensor) -> Tensor:
    """Compare the outputs with as many of the targets' values."""
    flat = outputs.flatten(1)
    return (flat - targets.flatten(1)[:, : flat.shape[1]]).square().mean()


@pytest.mark.parametrize("n_outputs", [1, 2, 4])
@pytest.mark.parametrize("shape", [(4,), (5,), (2, 3), (6, 1), (4, 2, 2)])
@pytest.mark.parametrize("is_binary", [False, True])
def test_own_losses_of_targets_in_another_form_than_the_outputs_are_examined(
    n_outputs: int, shape: tuple[int, ...], is_binary: bool
) -> None:
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    y = x[:, :1].expand(-1, math.prod(shape)).reshape(-1, *shape)
    y = (y > 0).float() if is_binary else y
    loss = TorchCriterion(first_columns, "mean")
    model = Model(Sequential(Dense(n_outputs)), loss, input_shape=(3,), metrics=())
    case = case_of(model, x, y, epochs=1, validation=(x, y))
    if not is_binary:
        assert weighing(case) is None
    assert with_causes(diagnose(case), task_of(model), case).checks
