"""Wrong labels of individual examples."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pellucid.combine import Sequential
from pellucid.data import float_images, load
from pellucid.doctor import Case, case_of
from pellucid.doctor.checks.label_noise import CHECK
from pellucid.layers import AdaptiveAvgPool2d, BatchNorm, Conv2d, Dense, Flatten, MaxPool2d, ReLU
from pellucid.model import Model
from pellucid.models import mlp
from pellucid.optim import Adam


def noisy_digits(fraction: float) -> tuple[Case, set[int]]:
    """Return a case of 1,000 digits, `fraction` of which have a wrong label, and the indices of these."""
    data = load("digits").train.subset(range(1000))
    rng = torch.Generator().manual_seed(3)
    wrong_indices = torch.randperm(1000, generator=rng)[: round(1000 * fraction)]
    y = data.y.clone()
    y[wrong_indices] = (y[wrong_indices] + torch.randint(1, 10, wrong_indices.shape, generator=rng)) % 10
    model = Model(mlp(sizes=(64, 10)), input_shape=(1, 8, 8))
    return case_of(model, data.x, y), set(wrong_indices.tolist())


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.1, 0.2])
def test_the_fraction_of_wrong_labels_is_found(share: float) -> None:
    case, wrong_indices = noisy_digits(share)
    (finding,) = CHECK.find(case)
    assert abs(finding.evidence["share"] - share) < 0.06  # three standard deviations of a share of 400
    named_indices = {int(place) for place in str(finding.evidence["for_example"]).split(", ")}
    assert len(named_indices & wrong_indices) >= 4


def test_correct_labels_have_no_finding() -> None:
    assert not CHECK.find(noisy_digits(0.0)[0])


def test_labels_of_overlapping_classes_have_no_finding() -> None:
    """A third of the predictions for overlapping classes are wrong, but almost none of the most confident ones."""
    rng = torch.Generator().manual_seed(0)
    y = torch.arange(1000) % 2
    x = torch.randn(1000, 3, generator=rng) + 0.5 * (2.0 * y[:, None] - 1) * torch.tensor([1.0, 0.0, 0.0])
    case = case_of(Model(mlp(sizes=(3, 2)), input_shape=(3,)), x, y)
    assert case.simple_classifier is not None
    assert case.simple_classifier.leave_one_out.accuracy < 0.75
    assert not CHECK.find(case)


def test_classes_that_the_inputs_do_not_distinguish_are_no_label_noise() -> None:
    """Each input belongs to one of two classes at random."""
    data = load("digits").train
    data = data.subset((data.y < 5).nonzero().flatten().tolist())
    y = 2 * data.y + torch.randint(0, 2, data.y.shape, generator=torch.Generator().manual_seed(0))
    model = Model(mlp(sizes=(64, 10)), input_shape=(1, 8, 8))
    (finding,) = CHECK.find(case_of(model, data.x, y))
    assert finding.check == "indistinct-classes"
    first, second = sorted(int(name) for name in str(finding.evidence["most_often"]).split(" and "))
    assert (first % 2, second) == (0, first + 1)
    model.index_inputs = (True,)
    assert not CHECK.find(case_of(model, data.x, y)), "classifiers that take indices for values know little"


@pytest.mark.parametrize(
    ("train_accuracy", "validation_accuracy", "is_found"),
    [(0.95, 0.95, False), (0.99, 0.7, True), (0.8, 0.82, True)],
    ids=["predicts the labels", "knows the labels by heart", "contradicts as many"],
)
def test_labels_that_the_trained_model_predicts_are_not_wrong(
    train_accuracy: float, validation_accuracy: float, is_found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of strongly augmented images, of which single readings teach the classifiers of this check nothing."""
    case, _ = noisy_digits(0.2)
    outputs, examples = torch.eye(10), SimpleNamespace(y=torch.arange(10))
    accuracies = (
        SimpleNamespace(accuracy=train_accuracy),
        SimpleNamespace(accuracy=validation_accuracy, y=outputs, examples=examples),
    )
    monkeypatch.setattr(Case, "class_predictions", accuracies)
    assert bool(CHECK.find(case)) is is_found


def in_another_order(y: torch.Tensor, how: str) -> torch.Tensor:
    """Return labels of inputs that lie class after class, if one of the two lists is sorted as text or shifted."""
    order = y.argsort(stable=True)
    wrong = y.clone()
    if how == "sorted as text":
        names = sorted(range(len(y)), key=str)
        wrong[order[names]] = y[order]
    elif how.startswith("shifted by"):
        wrong[order] = y[order].roll(int(float(how.rsplit(maxsplit=1)[-1]) * len(y) / len(y.unique())))
    elif how == "at random":
        rng = torch.Generator().manual_seed(5)
        is_wrong = torch.rand(len(y), generator=rng) < 0.35
        wrong = torch.where(is_wrong, (y + torch.randint(1, 5, y.shape, generator=rng)) % 5, y)
    return wrong


def trained_case(x: torch.Tensor, y: torch.Tensor, net: Any, epochs: int) -> Case:
    """Return the case of a network that is trained on three quarters of examples in random order."""
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(1))
    train, validation = order[: 3 * len(y) // 4], order[3 * len(y) // 4 :]
    model = Model(net, optimizer=Adam(3e-3), input_shape=x.shape[1:], metrics=())
    history = model.fit(x[train], y[train], epochs=epochs, batch_size=32, verbose=False)
    held_out = x[validation], y[validation]
    return case_of(model, x[train], y[train], validation=held_out, history=history, epochs=epochs)


@pytest.mark.slow
@pytest.mark.parametrize("n_classes", [10, 6])
@pytest.mark.parametrize("how", ["sorted as text", "shifted by 0.2", "shifted by 0.35", "in order"])
def test_labels_in_another_order_in_all_data_are_found(how: str, n_classes: int) -> None:
    data = load("digits").train
    data = data.subset((data.y < n_classes).nonzero().flatten()[:1000].tolist())
    data = data.subset(torch.randperm(len(data), generator=torch.Generator().manual_seed(2)).tolist())
    x, y = float_images(data.x), in_another_order(data.y, how)
    found = CHECK.find(trained_case(x, y, mlp(sizes=(64, 32, n_classes)), 8))
    assert ["different orders" in finding.cause for finding in found] == [True] * (how != "in order")


def test_a_single_output_for_two_classes_has_no_confidence_of_classes() -> None:
    rng = torch.Generator().manual_seed(0)
    y = torch.arange(600) % 2
    x = torch.randn(600, 3, generator=rng) + y[:, None] * torch.tensor([1.0, 0.0, 0.0])
    model = Model(Sequential(Dense(1)), "binary_cross_entropy", Adam(0.01), input_shape=(3,), metrics=())
    history = model.fit(x, y, epochs=2, verbose=False)
    assert not CHECK.find(case_of(model, x, y, validation=(x[:100], y[:100]), history=history, epochs=2))


@pytest.mark.slow
@pytest.mark.parametrize("overlap", [0.6, 1.0, 1.6])
def test_neighbouring_classes_that_overlap_are_in_order(overlap: float) -> None:
    """As grades and ages are: many are taken for the next class, in both directions."""
    rng = torch.Generator().manual_seed(0)
    y = torch.arange(1200) % 6
    x = torch.randn(1200, 4, generator=rng)
    x[:, 0] = y + overlap * x[:, 0]
    assert not CHECK.find(trained_case(x, y, mlp(sizes=(4, 32, 6)), 20))


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.parametrize(("how", "contrast"), [
    ("sorted as text", 1.0), ("shifted by 0.3", 1.0), ("at random", 1.0), ("sorted as text", 0.7), ("at random", 0.7),
    ("in order", 1.0), ("in order", 0.7), ("in order", 0.6), ("in order", 0.5), ("in order", 0.4),
])  # fmt: skip
def test_the_training_judges_labels_of_images_that_a_simple_classifier_does_not_know(how: str, contrast: float) -> None:
    """Images with a stamp at a random place; in order, they are hard to tell apart at a low contrast."""
    rng = torch.Generator().manual_seed(0)
    y = torch.arange(1000) % 5
    stamps = torch.randn(5, 5, 5, generator=rng).sign()
    x = 0.3 * torch.randn(1000, 1, 16, 16, generator=rng)
    for k, label in enumerate(y.tolist()):
        top, left = torch.randint(12, (2,), generator=rng).tolist()
        x[k, 0, top : top + 5, left : left + 5] += contrast * stamps[label]
    net = Sequential(
        Conv2d(16, 5, padding=2), BatchNorm(), ReLU(), MaxPool2d(2), Conv2d(16, 3, padding=1), BatchNorm(), ReLU(),
        AdaptiveAvgPool2d(1), Flatten(), Dense(5),
    )  # fmt: skip
    case = trained_case(x, in_another_order(y, how), net, 12)
    assert case.simple_classifier is not None
    assert case.simple_classifier.leave_one_out.accuracy < 0.65
    found = CHECK.find(case)
    assert len(found) == (how != "in order")
    for finding in found:
        assert finding.evidence["judged_by"] == "the training on the other half"
        assert ("different orders" in finding.cause) is (how != "at random")


@pytest.mark.parametrize("seed", range(3))
def test_a_classifier_that_knows_little_contradicts_right_labels(seed: int) -> None:
    """Six classes of noise with a weak hint, and a trained model that knows nothing, as with random features."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(400) % 6
    x = torch.randn(400, 1, 8, 8, generator=generator)
    x[torch.arange(400), 0, 0, labels] += 1.0
    model = Model(Sequential(Flatten(), Dense(6)), input_shape=(1, 8, 8))
    assert CHECK.find(case_of(model, x, labels, validation=(x[:60], labels[:60]))) == []
