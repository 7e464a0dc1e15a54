"""Frozen layers without pretrained weights."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from pellucid.combine import Sequential
from pellucid.doctor import Case, case_of
from pellucid.doctor.checks.untrained_frozen import CHECK
from pellucid.doctor.suspects import suspects
from pellucid.layers import BatchNorm, Conv2d, Dense, Flatten, ReLU
from pellucid.model import Model
from pellucid.optim import Adam
from tests.doctor.small_cases import corners

NETS = {
    "dense": (Flatten(), Dense(64), ReLU(), Dense(64), ReLU(), Dense(64), ReLU(), Dense(4)),
    "normalized": (Flatten(), Dense(24), BatchNorm(), ReLU(), Dense(24), BatchNorm(), ReLU(), Dense(24), ReLU(),
                   Dense(4)),
    "convolutions": (Conv2d(8, 3, padding=1), BatchNorm(), ReLU(), Conv2d(8, 3, padding=1), BatchNorm(), ReLU(),
                     Conv2d(8, 3, padding=1), BatchNorm(), ReLU(), Flatten(), Dense(4)),
}  # fmt: skip


def make_case(kind: str, n_frozen: int, is_loaded: bool, labels: torch.Tensor | None = None, lost: str = "") -> Case:
    """Return the case of a network whose first layers are frozen, with weights of another training or newly drawn.

    lost: the path of a normalization that is frozen without its running statistics.
    """
    x, y = corners(200)
    y = y if labels is None else labels
    model = Model(Sequential(*NETS[kind]), optimizer=Adam(0.01), input_shape=(1, 4, 4))
    if is_loaded:
        model.fit(x, corners(200)[1], epochs=15, verbose=False)
    layer_paths = [path.rpartition(".")[0] for path, value in model.weights.items() if value.dim() > 1]
    for path in layer_paths[:n_frozen]:
        model.freeze(f"{path}.*")
    if lost:
        model.freeze(f"{lost}.*")
        model.weights[f"{lost}.running_mean"].zero_()
        model.weights[f"{lost}.running_var"].fill_(1.0)
    first_weights = {path: value.clone() for path, value in model.weights.items()}
    model.weights[f"{layer_paths[-1]}.bias"].add_(0.5)  # a training of the last layer alone

    def begin() -> Any:
        model_before = Model(Sequential(*NETS[kind]), optimizer=Adam(0.01), input_shape=(1, 4, 4))
        for path, value in first_weights.items():
            model_before.weights[path].copy_(value)
        model_before.frozen = set(model.frozen)
        return model_before

    return case_of(model, x, y, validation=(x[:80], y[:80]), begin=begin)


@pytest.mark.parametrize("kind", ["normalized", "convolutions"])
def test_frozen_layers_as_newly_drawn_are_a_fault(kind: str) -> None:
    case = make_case(kind, 3, is_loaded=False)
    (finding,) = CHECK.find(case)
    assert finding.evidence == {"frozen_layers": 3, "layers": 4}
    first = suspects(case, [replace(finding, is_fault=True)])[0]  # not that frozen layers do not suit the data
    assert (first.finding.check, first.apply(case).model.frozen) == ("untrained-frozen", set())


@pytest.mark.parametrize("kind", NETS)
def test_few_frozen_layers_and_good_predictions_are_no_fault(kind: str) -> None:
    assert not CHECK.find(make_case(kind, 2, is_loaded=False))
    assert not CHECK.find(make_case(kind, 3, is_loaded=True))  # it predicts the classes


@pytest.mark.parametrize("n_frozen", [1, 3])
@pytest.mark.parametrize("kind", ["normalized", "convolutions"])
@pytest.mark.parametrize("lost", ["batchnorm1", "batchnorm2"])
def test_a_frozen_normalization_without_its_statistics_is_a_fault(n_frozen: int, kind: str, lost: str) -> None:
    labels = torch.arange(200) // 50
    case = make_case(kind, n_frozen, is_loaded=True, labels=labels, lost=lost)
    (finding,) = CHECK.find(case)
    assert (finding.path, "statistics" in finding.cause) == (lost, True)
    assert finding.remedy is not None
    assert case.model.frozen - finding.remedy.apply(case).model.frozen == {f"{lost}.weight", f"{lost}.bias"}
    assert not CHECK.find(make_case(kind, n_frozen, is_loaded=True, labels=labels))


@pytest.mark.parametrize("kind", NETS)
def test_frozen_layers_of_another_training_are_no_fault(kind: str) -> None:
    """The labels are others, so that the predictions are bad."""
    assert not CHECK.find(make_case(kind, 3, is_loaded=True, labels=torch.arange(200) // 50))


def test_layers_without_statistics_show_too_little() -> None:
    assert not CHECK.find(make_case("dense", 3, is_loaded=False))
