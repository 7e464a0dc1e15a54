"""Units with equal initial weights."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch

from pellucid.combine import Parallel, Sequential
from pellucid.doctor import Case, case_of
from pellucid.doctor.checks.symmetric_init import CHECK
from pellucid.doctor.remedies import he_initialized
from pellucid.layers import Add, BatchNorm, Conv2d, ConvTranspose2d, Dense, Flatten, Identity, ReLU, Tanh
from pellucid.layers.base import Layer
from pellucid.model import Model
from pellucid.optim import SGD

RNG = torch.Generator().manual_seed(1)
X = torch.randn(64, 6, generator=RNG)
IMAGES = torch.randn(32, 3, 6, 6, generator=RNG)
Y = (X[:, 0] > 0).long()


def case_with_initial_weights(
    net: Layer, change: Callable[[dict[str, torch.Tensor]], None], x: torch.Tensor = X
) -> Case:
    """Return the case of a network whose initial weights are changed by `change`."""

    def begin() -> Model:
        model = Model(net, optimizer=SGD(lr=0.1), classes=2, input_shape=x.shape[1:])
        change(model.weights)
        return model

    return case_of(begin(), x, Y[: len(x)], begin=begin)


def small_net() -> Layer:
    return Sequential(Dense(8), Tanh(), Dense(2))


def test_equal_initial_weights_make_copies() -> None:
    def set_equal(weights: dict[str, torch.Tensor]) -> None:
        weights["dense1.weight"].fill_(0.1)
        weights["dense2.weight"].fill_(0.1)

    findings = CHECK.find(case_with_initial_weights(small_net(), set_equal))
    assert [finding.path for finding in findings] == ["dense1.weight"]
    assert findings[0].evidence["units_with_a_twin"] == 8
    assert findings[0].evidence["copies_of_an_earlier_unit"] == 7
    assert findings[0].evidence["mean_distance_between_copies"] == pytest.approx(0.0, abs=1e-6)


def test_weights_of_0_never_change() -> None:
    def set_zero(weights: dict[str, torch.Tensor]) -> None:
        weights["dense1.weight"].zero_()
        weights["dense2.weight"].zero_()

    findings = CHECK.find(case_with_initial_weights(small_net(), set_zero))
    assert findings[0].evidence["mean_distance_moved"] == 0
    assert "are 0" in findings[0].cause


def test_the_twins_of_a_trained_model_are_compared_after_training() -> None:
    def set_equal(weights: dict[str, torch.Tensor]) -> None:
        weights["dense1.weight"].fill_(0.1)
        weights["dense2.weight"].fill_(0.1)

    case = case_with_initial_weights(small_net(), set_equal)
    case.model.fit(X, Y, epochs=2, batch_size=16, verbose=False)
    weight = case.model.weights["dense1.weight"]
    assert float((weight - weight[:1]).abs().max()) < 1e-5
    assert CHECK.find(case)


def test_two_pairs_of_twins_among_eight_units_have_no_finding() -> None:
    def copy_two_units(weights: dict[str, torch.Tensor]) -> None:
        for name in ("dense1.weight", "dense1.bias"):
            weights[name][4:6] = weights[name][:2]
        weights["dense2.weight"][:, 4:6] = weights["dense2.weight"][:, :2]

    assert not CHECK.find(case_with_initial_weights(small_net(), copy_two_units))


def test_equal_weights_with_different_gradients_have_no_finding() -> None:
    def zero_first(weights: dict[str, torch.Tensor]) -> None:
        weights["dense1.weight"].zero_()  # the random weights of the second layer make the gradients differ

    def zero_last(weights: dict[str, torch.Tensor]) -> None:
        weights["dense2.weight"].zero_()  # the targets of the classes make the gradients differ

    assert not CHECK.find(case_with_initial_weights(small_net(), zero_first))
    assert not CHECK.find(case_with_initial_weights(small_net(), zero_last))


def test_residual_branches_of_0_and_identity_convolutions_have_no_finding() -> None:
    body = Sequential(Conv2d(4, 3, padding=1), BatchNorm(), ReLU(), Conv2d(4, 3, padding=1), BatchNorm())
    net = Sequential(
        Conv2d(4, 3, padding=1, init_weight="dirac"), Parallel((Identity(), body), Add()), Flatten(), Dense(2)
    )
    weights = Model(net, classes=2, input_shape=(3, 6, 6)).weights
    scale_path = next(path for path in weights if path.endswith("batchnorm2.weight"))
    last_path = next(path for path in weights if path.endswith("conv2d2.weight"))
    assert not CHECK.find(case_with_initial_weights(net, lambda weights: None, IMAGES))
    for path in (scale_path, last_path):

        def set_zero(weights: dict[str, torch.Tensor], path: str = path) -> None:
            weights[path].zero_()

        assert not CHECK.find(case_with_initial_weights(net, set_zero, IMAGES))


def upsampling_net(layer: Layer) -> Layer:
    return Sequential(Conv2d(4, 3, padding=1, stride=2), Tanh(), layer, Conv2d(4, 3, padding=1), Flatten(), Dense(2))


def test_interpolation_kernels_that_each_read_another_map_have_no_finding() -> None:
    def set_similar(weights: dict[str, torch.Tensor]) -> None:
        """Make the maps similar but not equal, so that the kernels receive similar gradients."""
        weights["conv2d1.weight"].mul_(0.01).add_(100 * weights["conv2d1.weight"][:1])
        weights["conv2d2.weight"].copy_(weights["conv2d2.weight"][:, :1])

    net = upsampling_net(ConvTranspose2d(4, 4, stride=2, padding=1, groups=4, bias=False, init_weight="bilinear"))
    assert not CHECK.find(case_with_initial_weights(net, set_similar, IMAGES))


@pytest.mark.parametrize("groups", [1, 2])
def test_equal_kernels_of_a_transposed_convolution_that_read_the_same_maps_make_copies(groups: int) -> None:
    def set_equal(weights: dict[str, torch.Tensor]) -> None:
        weights["convtranspose2d1.weight"].copy_(weights["convtranspose2d1.weight"][:, :1])
        weights["conv2d2.weight"].copy_(weights["conv2d2.weight"][:, :1])  # so that the gradients are equal, too

    net = upsampling_net(ConvTranspose2d(4, 4, stride=2, padding=1, groups=groups))
    findings = CHECK.find(case_with_initial_weights(net, set_equal, IMAGES))
    assert [finding.path for finding in findings] == ["convtranspose2d1.weight"]
    assert findings[0].evidence["units"] == 4
    assert findings[0].evidence["copies_of_an_earlier_unit"] == 4 - groups


def test_regressions_of_few_examples_and_one_layer_have_no_finding() -> None:
    deep = Model(Sequential(Dense(4), ReLU(), Dense(1)), "quadratic", metrics=(), input_shape=(6,))
    linear = Model(Sequential(Dense(1)), "quadratic", metrics=(), input_shape=(6,))
    for model in (deep, linear):
        assert not CHECK.find(case_of(model, X[:10], X[:10, :1]))


def test_the_remedy_draws_the_weights() -> None:
    def set_equal(weights: dict[str, torch.Tensor]) -> None:
        weights["dense1.weight"].fill_(0.1)
        weights["dense2.weight"].fill_(0.1)

    case = case_with_initial_weights(small_net(), set_equal)
    remedy = CHECK.find(case)[0].remedy
    assert remedy is not None
    assert not CHECK.find(remedy.apply(case))


@dataclass(frozen=True)
class OwnDense(Layer):
    """A user's layer, which is no Dense, but has its options."""

    decayed: ClassVar[tuple[str, ...]] = ("weight",)

    units: int
    init_weight: str = "zeros"
    init_bias: str = "normal"

    @property
    def dense(self) -> Dense:
        return Dense(self.units, init_weight=self.init_weight, init_bias=self.init_bias)

    def init(self, shape: Any, rng: torch.Generator) -> Any:
        return self.dense.init(shape, rng)

    def forward(self, params: Any, x: Any, mode: Any) -> Any:
        return self.dense.forward(params, x, mode)

    def backward(self, params: Any, cache: Any, dy: Any) -> Any:
        return self.dense.backward(params, cache, dy)


def test_weights_of_a_users_layer_are_redrawn_too() -> None:
    assert he_initialized(OwnDense(8)) == OwnDense(8, init_weight="he", init_bias="zeros")
    weights = Model(he_initialized(OwnDense(8)), classes=8, input_shape=(6,)).weights
    assert len(torch.unique(weights["weight"], dim=0)) == 8
    assert he_initialized(BatchNorm()) == BatchNorm()
