"""Units that are copies of one another."""

import torch

from pellucid.combine import Sequential
from pellucid.doctor import case_of
from pellucid.doctor.checks.duplicate_maps import CHECK
from pellucid.layers import Conv2d, Dense, Flatten, ReLU
from pellucid.model import Model

RNG = torch.Generator().manual_seed(1)
X = torch.randn(64, 12, generator=RNG)
IMAGES = torch.randn(32, 3, 6, 6, generator=RNG)
Y = (X[:, 0] > 0).long()


def model_with_copies(noise: float, copies: int) -> Model:
    model = Model(Sequential(Dense(12), ReLU(), Dense(2)), classes=2, input_shape=(12,))
    weight = model.weights["dense1.weight"]
    noisy = weight[:copies] + noise * torch.randn(weight[:copies].shape, generator=torch.Generator().manual_seed(2))
    weight[12 - copies :] = noisy
    return model


def test_copies_are_counted_with_their_pairs() -> None:
    findings = CHECK.find(case_of(model_with_copies(0.0, 4), X, Y))
    assert [finding.path for finding in findings] == ["dense1"]
    correlations = torch.corrcoef((X @ model_with_copies(0.0, 4).weights["dense1.weight"].T).T)
    assert findings[0].evidence["copies"] == int((correlations.triu(1) > 0.99).sum()) == 4
    assert findings[0].evidence["first_pair"] == "0 and 8"


def test_scaled_and_noisy_copies_are_counted() -> None:
    model = model_with_copies(0.01, 4)
    model.weights["dense1.weight"][8:].mul_(3.0)
    model.weights["dense1.bias"][8:] = 0.5
    assert CHECK.find(case_of(model, X, Y))[0].evidence["copies"] == 4


def test_opposite_units_and_few_copies_have_no_finding() -> None:
    model = model_with_copies(0.0, 4)
    model.weights["dense1.weight"][8:].mul_(-1.0)
    assert not CHECK.find(case_of(model, X, Y))
    assert not CHECK.find(case_of(model_with_copies(0.0, 3), X, Y))


def test_copies_among_the_maps_of_a_convolution_are_counted() -> None:
    model = Model(Sequential(Conv2d(8, 3), ReLU(), Flatten(), Dense(2)), classes=2, input_shape=(3, 6, 6))
    assert not CHECK.find(case_of(model, IMAGES, Y[:32]))
    model.weights["conv2d1.weight"][4:] = model.weights["conv2d1.weight"][:4]
    assert CHECK.find(case_of(model, IMAGES, Y[:32]))[0].evidence["copies"] == 4


def test_units_of_one_input_are_copies_by_chance() -> None:
    model = Model(Sequential(Dense(16), ReLU(), Dense(1)), "quadratic", metrics=(), input_shape=(1,))
    assert not CHECK.find(case_of(model, X[:10, :1], X[:10, 1:2]))


def test_classes_that_are_alike_have_no_finding() -> None:
    model = Model(Sequential(Dense(6)), classes=6, input_shape=(12,))
    model.weights["dense1.weight"].fill_(0.1)
    assert not CHECK.find(case_of(model, X, Y))
