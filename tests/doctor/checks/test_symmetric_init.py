"""Units that begin alike."""

from collections.abc import Callable

import pytest
import torch

from pellucid.combine import Parallel, Sequential
from pellucid.doctor import Case, case_of
from pellucid.doctor.checks.symmetric_init import CHECK
from pellucid.layers import Add, BatchNorm, Conv2d, Dense, Flatten, Identity, ReLU, Tanh
from pellucid.layers.base import Layer
from pellucid.model import Model
from pellucid.optim import SGD

RNG = torch.Generator().manual_seed(1)
X = torch.randn(64, 6, generator=RNG)
IMAGES = torch.randn(32, 3, 6, 6, generator=RNG)
Y = (X[:, 0] > 0).long()


def begun(net: Layer, change: Callable[[dict[str, torch.Tensor]], None], x: torch.Tensor = X) -> Case:
    """Return the case of a network whose first weights are changed."""

    def begin() -> Model:
        model = Model(net, optimizer=SGD(lr=0.1), classes=2, input_shape=x.shape[1:])
        change(model.weights)
        return model

    return case_of(begin(), x, Y[: len(x)], begin=begin)


def small() -> Layer:
    return Sequential(Dense(8), Tanh(), Dense(2))


def test_one_value_for_all_weights_makes_copies() -> None:
    def same(weights: dict[str, torch.Tensor]) -> None:
        weights["dense1.weight"].fill_(0.1)
        weights["dense2.weight"].fill_(0.1)

    found = CHECK.look(begun(small(), same))
    assert [one.path for one in found] == ["dense1.weight"]
    assert found[0].evidence["units_with_a_twin"] == 8
    assert found[0].evidence["copies_of_an_earlier_unit"] == 7
    assert found[0].evidence["mean_distance_between_copies"] == pytest.approx(0.0, abs=1e-6)


def test_zeros_everywhere_never_move() -> None:
    def zero(weights: dict[str, torch.Tensor]) -> None:
        weights["dense1.weight"].zero_()
        weights["dense2.weight"].zero_()

    found = CHECK.look(begun(small(), zero))
    assert found[0].evidence["mean_distance_moved"] == 0
    assert "are 0" in found[0].cause


def test_a_trained_model_is_asked_for_what_became_of_the_twins() -> None:
    def same(weights: dict[str, torch.Tensor]) -> None:
        weights["dense1.weight"].fill_(0.1)
        weights["dense2.weight"].fill_(0.1)

    case = begun(small(), same)
    case.model.fit(X, Y, epochs=2, batch_size=16, verbose=False)
    weight = case.model.weights["dense1.weight"]
    assert float((weight - weight[:1]).abs().max()) < 1e-5
    assert CHECK.look(case)


def test_two_pairs_among_eight_units_are_too_few() -> None:
    def pairs(weights: dict[str, torch.Tensor]) -> None:
        for name in ("dense1.weight", "dense1.bias"):
            weights[name][4:6] = weights[name][:2]
        weights["dense2.weight"][:, 4:6] = weights["dense2.weight"][:, :2]

    assert not CHECK.look(begun(small(), pairs))


def test_equal_weights_that_different_gradients_reach_are_fine() -> None:
    def first(weights: dict[str, torch.Tensor]) -> None:
        weights["dense1.weight"].zero_()  # the second layer's weights, drawn at random, tell the units apart

    def last(weights: dict[str, torch.Tensor]) -> None:
        weights["dense2.weight"].zero_()  # the classes tell the units apart

    assert not CHECK.look(begun(small(), first))
    assert not CHECK.look(begun(small(), last))


def test_residual_branches_may_begin_at_zero_and_convolutions_at_identity() -> None:
    body = Sequential(Conv2d(4, 3, padding=1), BatchNorm(), ReLU(), Conv2d(4, 3, padding=1), BatchNorm())
    net = Sequential(
        Conv2d(4, 3, padding=1, init_weight="dirac"), Parallel((Identity(), body), Add()), Flatten(), Dense(2)
    )
    gammas = Model(net, classes=2, input_shape=(3, 6, 6)).weights
    scale = next(path for path in gammas if path.endswith("batchnorm2.weight"))
    last = next(path for path in gammas if path.endswith("conv2d2.weight"))
    assert not CHECK.look(begun(net, lambda weights: None, IMAGES))
    for path in (scale, last):

        def zero(weights: dict[str, torch.Tensor], path: str = path) -> None:
            weights[path].zero_()

        assert not CHECK.look(begun(net, zero, IMAGES))


def test_regressions_of_few_examples_and_one_layer_are_quiet() -> None:
    deep = Model(Sequential(Dense(4), ReLU(), Dense(1)), "quadratic", metrics=(), input_shape=(6,))
    line = Model(Sequential(Dense(1)), "quadratic", metrics=(), input_shape=(6,))
    for model in (deep, line):
        assert not CHECK.look(case_of(model, X[:10], X[:10, :1]))


def test_the_remedy_draws_the_weights() -> None:
    def same(weights: dict[str, torch.Tensor]) -> None:
        weights["dense1.weight"].fill_(0.1)
        weights["dense2.weight"].fill_(0.1)

    case = begun(small(), same)
    remedy = CHECK.look(case)[0].remedy
    assert remedy is not None
    assert not CHECK.look(remedy.apply(case))
