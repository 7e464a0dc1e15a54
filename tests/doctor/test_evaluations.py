"""Evaluations of the present model: with a lower threshold, it finds more of the rare labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from torch import nn
from torch.nn import functional as F

import pellucid
from pellucid.combine import Sequential
from pellucid.doctor import Case, case_of, diagnose
from pellucid.doctor.evaluations import Evaluations, _f1_scores
from pellucid.doctor.finding import Finding
from pellucid.doctor.paired import PairedTrainings, ProvenCause
from pellucid.layers import AdaptiveAvgPool2d, BatchNorm, Conv2d, Dense, Flatten, MaxPool2d, ReLU
from pellucid.losses import BinaryCrossEntropy, Quadratic
from pellucid.model import Model
from pellucid.opening.torch_training.losses import TorchCriterion
from pellucid.optim import Momentum
from pellucid.task import task_of

SHAPES: dict[str, tuple[int, ...]] = {"labels": (1200, 3), "one label": (1200, 1), "maps": (300, 2, 6, 6)}
N_TRAIN = 200


def binary_targets(shape: tuple[int, ...], slope: float, offset: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs and binary targets of a shape; a target is 1 with the probability sigmoid(slope x - offset)."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=rng)
    return x, (torch.rand(shape, generator=rng) < (slope * x - offset).sigmoid()).float()


def case_of_outputs(kind: str, loss: Any, slope: float, offset: float) -> Case:
    """Return the case of a model that outputs the true logits of the targets."""
    x, y = binary_targets(SHAPES[kind], slope, offset)
    n_labels = x.shape[1]
    model, first_model = (
        Model(Conv2d(n_labels, 1) if kind == "maps" else Dense(n_labels), loss, metrics=(), input_shape=x.shape[1:])
        for _ in range(2)
    )
    weight = model.weights["weight"]
    weight.copy_(slope * torch.eye(n_labels).view(weight.shape))
    model.weights["bias"].fill_(-offset)
    validation = x[N_TRAIN:], y[N_TRAIN:]
    return case_of(model, x[:N_TRAIN], y[:N_TRAIN], validation=validation, begin=lambda: first_model, epochs=1)


def cause_of(case: Case, findings: Sequence[Finding] = ()) -> ProvenCause | None:
    trainings = PairedTrainings(task_of(case.model), case, lambda text: None)
    return Evaluations(trainings, findings, False).find_more_positives()


@pytest.mark.parametrize("kind", [*SHAPES])
@pytest.mark.parametrize(("loss", "slope", "offset", "is_found"), [
    (BinaryCrossEntropy(), 0.8, 3.2, True),
    (BinaryCrossEntropy(pos_weight=4.0), 0.8, 3.2, False),  # these are weighted
    (BinaryCrossEntropy(), 12.0, 18.0, False),  # as rare, but certain
    (BinaryCrossEntropy(), 1.0, 0.0, False),  # as uncertain, but not rare
])  # fmt: skip
def test_rare_labels_that_are_missed_are_found_from_a_lower_threshold(
    kind: str, loss: Any, slope: float, offset: float, is_found: bool
) -> None:
    case = case_of_outputs(kind, loss, slope, offset)
    cause = cause_of(case)
    # a threshold that fits the share of one label raises the F1 of any sound model
    assert (cause is not None) is (is_found and kind != "one label")
    if cause is not None:
        assert diagnose(case).causes[0] == "class-imbalance"
        assert (cause.finding.check, cause.effect.score, cause.effect.steps) == ("class-imbalance", "mean F1", 0)
        assert cause.effect.before[0] < 0.1 < cause.effect.after[0]
        assert 0 < cause.effect.low < cause.effect.gains[0]


@pytest.mark.parametrize("kind", [*SHAPES])
@pytest.mark.parametrize(("check", "is_tried"), [("unpaired-targets", False), ("overfitting", True)])
def test_masks_that_do_not_fit_their_images_come_before_a_lower_threshold(
    kind: str, check: str, is_tried: bool
) -> None:
    case = case_of_outputs(kind, BinaryCrossEntropy(), 0.8, 3.2)
    is_found = is_tried and kind != "one label"
    assert (cause_of(case, [Finding(check, "train", {}, is_fault=True)]) is not None) is is_found


@pytest.mark.parametrize(("positive", "is_found"), [(4.0, False), (0.25, False), (1.0, True)])
def test_no_lower_threshold_is_named_for_an_own_loss_with_weights(positive: float, is_found: bool) -> None:
    def own_loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return F.binary_cross_entropy_with_logits(outputs, targets, pos_weight=torch.tensor(positive))

    assert (cause_of(case_of_outputs("labels", TorchCriterion(own_loss), 0.8, 3.2)) is not None) is is_found


def logits_loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.binary_cross_entropy_with_logits(outputs, targets)


@pytest.mark.parametrize("loss", [nn.BCEWithLogitsLoss(), nn.BCELoss(), logits_loss, nn.MultiLabelSoftMarginLoss()])
def test_a_lower_threshold_is_tried_for_each_loss_of_pytorch(loss: Any) -> None:
    x, y = binary_targets(SHAPES["labels"], 1.0, 3.2)
    linear = nn.Linear(3, 3)
    with torch.no_grad():
        linear.weight.copy_(torch.eye(3))
        linear.bias.fill_(-3.2)
    network = nn.Sequential(linear, *([nn.Sigmoid()] if isinstance(loss, nn.BCELoss) else []))
    training = pellucid.from_torch(
        network, loss=loss, optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        train=torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), 20),
    )  # fmt: skip
    case = case_of(training.model, x[:N_TRAIN], y[:N_TRAIN], validation=(x[N_TRAIN:], y[N_TRAIN:]), epochs=1)
    cause = cause_of(case)
    assert cause is not None
    assert cause.effect.gains[0] > 0.1


def stamped(n: int, n_labels: int, share: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return noise images (n, 1, 16, 16) with a stamp at a random place for each label that an image has."""
    rng = torch.Generator().manual_seed(seed)
    stamps = torch.randn(n_labels, 5, 5, generator=torch.Generator().manual_seed(9)).sign()
    x, y = 0.3 * torch.randn(n, 1, 16, 16, generator=rng), (torch.rand(n, n_labels, generator=rng) < share).float()
    for image, label in y.nonzero().tolist():
        top, left = torch.randint(12, (2,), generator=rng).tolist()
        x[image, 0, top : top + 5, left : left + 5] += stamps[label]
    return x, y


def stamp_case(share: float, n_labels: int, loss: Any, epochs: int, lr: float) -> Case:
    net = Sequential(
        Conv2d(16, 5, padding=2), BatchNorm(), ReLU(), MaxPool2d(2), Conv2d(16, 3, padding=1), BatchNorm(), ReLU(),
        AdaptiveAvgPool2d(1), Flatten(), Dense(n_labels),
    )  # fmt: skip
    model = Model(net, loss, Momentum(lr, 0.9), metrics=(), input_shape=(1, 16, 16))
    train, validation = stamped(800, n_labels, share, 0), stamped(500, n_labels, share, 1)
    history = model.fit(*train, epochs=epochs, batch_size=32, validation=validation, verbose=False)
    return case_of(model, *train, validation=validation, history=history, epochs=epochs, batch_size=32)


@pytest.mark.slow
@pytest.mark.parametrize(("share", "n_labels", "pos_weight", "epochs", "lr", "is_found"), [
    (0.05, 6, 1.0, 8, 0.02, True),
    (0.08, 3, 1.0, 8, 0.02, True),
    (0.12, 4, 1.0, 6, 0.02, True),
    (0.05, 6, 6.0, 8, 0.05, False),  # weighted
    (0.08, 3, 1.0, 16, 0.1, False),  # learned without weights
    (0.12, 4, 1.0, 16, 0.1, False),
])  # fmt: skip
def test_a_weight_of_rare_labels_is_proven_by_their_f1(
    share: float, n_labels: int, pos_weight: float, epochs: int, lr: float, is_found: bool
) -> None:
    diagnosis = diagnose(stamp_case(share, n_labels, BinaryCrossEntropy(pos_weight, "mean"), epochs, lr))
    assert ("class-imbalance" in diagnosis.causes) is is_found
    if is_found:
        assert diagnosis.causes == ("class-imbalance",)


@pytest.mark.parametrize("targets", ["numbers", "few"])
def test_numbers_and_few_examples_have_no_threshold(targets: str) -> None:
    case = case_of_outputs("labels", Quadratic() if targets == "numbers" else BinaryCrossEntropy(), 1.0, 3.2)
    data = case.validation
    assert data is not None
    model, x, y = case.model, data.x[:20], data.y[:20]
    if targets == "numbers":
        x, y = data.x, data.y + 0.1
    assert cause_of(case_of(model, x, y, validation=(x, y), epochs=1)) is None


@pytest.mark.parametrize("shape", [(200, 3, 1), (200, 1, 1), (60, 2, 30)])
def test_the_scores_of_examples_have_the_mean_and_the_deviation_of_the_f1(shape: tuple[int, ...]) -> None:
    rng = torch.Generator().manual_seed(0)
    y = torch.rand(shape, generator=rng) < 0.3
    predicted = y ^ (torch.rand(shape, generator=rng) < 0.2)

    def macro_f1(rows: Any) -> float:
        pair = (one[rows].movedim(2, 1).flatten(0, 1) for one in (y, predicted))
        true, answers = (one[:, 0] if shape[1] == 1 else one for one in pair)
        return float(f1_score(true.numpy(), answers.numpy(), average="binary" if shape[1] == 1 else "macro"))

    scores = _f1_scores(predicted, y.float())
    assert float(scores.mean()) == pytest.approx(macro_f1(slice(None)))
    draws = np.random.default_rng(0).integers(0, shape[0], (400, shape[0]))
    deviation = float(np.std([macro_f1(torch.from_numpy(rows)) for rows in draws]))
    assert float(scores.std()) / shape[0] ** 0.5 == pytest.approx(deviation, rel=0.2)
