"""Mistakes in layers, losses, weights and numbers of one's own are causes; their sound twins are not."""

from typing import Any

import pytest
import torch

from pellucid.combine import Sequential
from pellucid.data import float_images
from pellucid.doctor import Case, case_of, diagnose
from pellucid.doctor.checks import cut_gradient, mixed_examples
from pellucid.doctor.suspects import architecture, parts, settings
from pellucid.layers import Conv2d, Dense, Dropout, Flatten, MaxPool2d, ReLU
from pellucid.losses import SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.optim import Adam, Momentum
from tests.doctor.own_parts import Dropped, Matrix, Rounded, SoftmaxOver, Squared, Weighted
from tests.doctor.test_trials import digits, taught


def with_layer(*layers: Any, width: int = 32) -> Sequential:
    return Sequential(Flatten(), Dense(width), ReLU(), *layers, Dense(10))


def numbers(loss: Any, epochs: int = 10, shift: float = 0.0, scale: float = 1.0) -> Case:
    """Four standardised numbers, and a smooth function of them."""
    x = torch.randn(500, 4, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] + x[:, 1] * x[:, 2]) * scale + shift
    y = y if isinstance(loss, Squared) else y[:, None]
    it = Model(
        Sequential(Dense(32), ReLU(), Dense(1)), loss=loss, optimizer=Adam(0.01), metrics=(), input_shape=(4,)
    )  # fmt: skip
    it.fit(x[:400], y[:400], epochs=epochs, verbose=False)
    return case_of(it, x[:400], y[:400], validation=(x[400:], y[400:]), epochs=epochs)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_layer_that_mixes_examples(axis: int) -> None:
    case = taught(with_layer(SoftmaxOver(axis)), epochs=1)
    found = mixed_examples.CHECK.look(case)
    assert [one.evidence["layer"] for one in found] == ["SoftmaxOver"] * (axis == 0)


@pytest.mark.parametrize("straight", [False, True])
def test_a_layer_that_hands_no_gradient_back(straight: bool) -> None:
    case = taught(with_layer(Rounded(straight)), epochs=1)
    found = cut_gradient.CHECK.look(case)
    if straight:
        assert found == []
        return
    (one,) = found
    assert one.evidence["layers_that_never_learn"] == 1
    assert one.remedy is not None
    assert not cut_gradient.CHECK.look(one.remedy.apply(case))


def test_dead_units_do_not_cut_a_gradient() -> None:
    def begin() -> Model:
        it = Model(with_layer(Rounded(straight=False)), input_shape=(1, 8, 8))
        it.weights["dense1.bias"].fill_(-50.0)
        return it

    x, y, _ = digits()
    assert not cut_gradient.CHECK.look(case_of(begin(), x, y, begin=begin))


@pytest.mark.parametrize("scaled", [False, True])
def test_dropout_that_is_not_scaled(scaled: bool) -> None:
    case = taught(with_layer(Dropped(0.8, scaled), width=64), epochs=3)
    found = list(parts.modes(case))
    assert [one.finding.check for one in found] == ["mode-mismatch"] * (not scaled)
    if found:
        assert found[0].finding.evidence["outputs_differ_by"] == pytest.approx(0.8, abs=0.05)


def test_a_loss_that_compares_all_pairs_is_the_cause() -> None:
    assert diagnose(numbers(Squared(broadcast=True))).causes == ("loss-mixes-examples",)
    assert list(parts.coupled_loss(numbers(Squared(broadcast=False), epochs=1))) == []


def test_a_weighted_mean_mixes_no_examples() -> None:
    assert list(parts.coupled_loss(taught(loss=Weighted(), epochs=1))) == []


@pytest.mark.parametrize(("layer", "unusual"), [(Matrix(32, 0.0, 1.0), 1), (Matrix(32, -3.0, 6.0), 1), (Matrix(32), 0)])
def test_first_weights_of_an_own_layer(layer: Matrix, unusual: int) -> None:
    case = taught(Sequential(Flatten(), layer, ReLU(), Dense(10)), epochs=1)
    found = list(parts.initialization(case))
    assert [one.finding.check for one in found] == ["bad-initialization"] * unusual
    for one in found:
        assert list(parts.initialization(one.apply(case))) == []


@pytest.mark.slow
def test_own_weights_that_are_all_positive_are_the_cause() -> None:
    net = Sequential(Flatten(), Matrix(64, 0.0, 1.0), ReLU(), Matrix(64, 0.0, 1.0), ReLU(), Dense(10))
    assert diagnose(taught(net, optimizer=Momentum(0.01), epochs=4)).causes == ("bad-initialization",)


def test_targets_far_from_zero_are_the_cause() -> None:
    assert diagnose(numbers("quadratic", shift=500.0, scale=20.0)).causes == ("unnormalised-targets",)


def test_targets_near_zero_are_no_suspect() -> None:
    assert list(parts.targets(numbers("quadratic", epochs=1))) == []


def test_class_weights_by_frequency_are_odd_and_by_rarity_are_not() -> None:
    x, y, held = digits()
    kept = (y < 5) | (torch.arange(len(y)) % 8 == 0)
    counts = y[kept].bincount().double()
    for weights, unusual in ((counts / counts.mean(), True), (counts.mean() / counts, False)):
        it = Model(with_layer(), loss=SoftmaxCrossEntropy(class_weights=tuple(weights.tolist())), input_shape=(1, 8, 8))
        (found,) = settings.loss_options(case_of(it, x[kept], y[kept], validation=held))
        assert found.unusual is unusual


def test_pictures_that_are_reduced_at_once() -> None:
    x = torch.rand(64, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    y = torch.arange(64) % 4
    early = Sequential(
        Conv2d(4, 5, stride=4, padding=2), ReLU(), MaxPool2d(4), Conv2d(8, 1), ReLU(), Flatten(), Dense(4)
    )  # fmt: skip
    usual = Sequential(Conv2d(4, 3, stride=2), ReLU(), Conv2d(8, 3), ReLU(), MaxPool2d(2), Flatten(), Dense(4))
    (found,) = architecture.reduced(case_of(Model(early, input_shape=(1, 28, 28)), x, y))
    assert found.finding.evidence["places_after_the_first_layers"] == 1
    finer = found.apply(case_of(Model(early, input_shape=(1, 28, 28)), x, y))
    assert list(architecture.reduced(finer)) == []
    assert list(architecture.reduced(case_of(Model(usual, input_shape=(1, 28, 28)), x, y))) == []


def test_a_scale_that_other_weights_were_learned_from() -> None:
    x, y, held = digits()
    first = Model(with_layer(Dropout(0.0)), optimizer=Adam(0.01), input_shape=(1, 8, 8))
    first.fit(x, y, epochs=4, verbose=False)

    def begin() -> Model:
        it = Model(with_layer(Dropout(0.0)), optimizer=Adam(0.01), input_shape=(1, 8, 8))
        it.weights["dense1.weight"].copy_(first.weights["dense1.weight"])
        return it

    large = 255 * float_images(x)
    case = case_of(begin(), large, y, validation=held, begin=begin)
    names = [one.remedy.does for one in parts.pretrained_scale(case)]
    assert names == ["inputs standardised", "inputs divided by 255"]
    fresh = Model(with_layer(), optimizer=Adam(0.01), input_shape=(1, 8, 8))
    assert list(parts.pretrained_scale(case_of(fresh, large, y))) == []
