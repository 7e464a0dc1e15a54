"""Wrong labels of individual examples."""

from types import SimpleNamespace

import pytest
import torch

from pellucid.data import load
from pellucid.doctor import Case, case_of
from pellucid.doctor.checks.label_noise import CHECK
from pellucid.model import Model
from pellucid.models import mlp


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
    accuracies = SimpleNamespace(accuracy=train_accuracy), SimpleNamespace(accuracy=validation_accuracy)
    monkeypatch.setattr(Case, "class_predictions", accuracies)
    assert bool(CHECK.find(case)) is is_found
