"""User-defined layers in training, caching of features, verification and export."""

from dataclasses import dataclass

import pytest
import torch

from pellucid import Conv2d, Dense, Flatten, Layer, Model, PellucidError, ReLU, Sequential
from pellucid.export import ParityError, from_onnx, to_onnx, to_torch
from pellucid.layers.base import Mode
from pellucid.optim import SGD
from pellucid.optim.schedules import Constant
from tests.own.parts import Scale
from tests.training.small import digits


def make_net(scale, **first):
    return Sequential(**first, scale=scale, act=ReLU(), flat=Flatten(), scores=Dense(10))


@dataclass(frozen=True)
class Noise(Scale):
    """Add random noise in training, without parameters."""

    def init(self, shape, rng):
        return {}, shape

    def forward(self, params, x, mode):
        return (x + torch.randn(x.shape, generator=mode.rng) if mode.train else x), None

    def backward(self, params, cache, dy):
        return dy, {}


def test_random_values_of_a_layer_depend_only_on_seed_and_step():
    first, second, other = (Model(make_net(Noise()), optimizer=SGD(0.1), seed=seed) for seed in (1, 1, 2))
    for one in (first, second, other):
        torch.randn(3)  # draws from the global generator make no difference
        one.fit(digits(), epochs=2, batch_size=30, verbose=False)
    assert first.sha256() == second.sha256() != other.sha256()


def test_features_of_a_layer_with_random_values_are_not_cached():
    def trained_hash(first_layer):
        model = Model(make_net(first_layer, conv=Conv2d(2, 3)), optimizer=SGD(0.1), input_shape=(1, 8, 8))
        model.freeze("conv.*")
        model.fit(digits(), epochs=2, batch_size=30, verbose=False)
        return model.sha256()

    @dataclass(frozen=True)
    class Quiet(Noise):
        def forward(self, params, x, mode):
            return x, None

    assert trained_hash(Noise()) != trained_hash(Quiet())


@dataclass(frozen=True)
class ZeroSchedule(Constant):
    """A subclass of Constant whose learning rate is 0."""

    def at(self, now):
        return 0.0


def test_a_subclass_of_the_constant_schedule_is_called_in_every_step():
    model = Model(make_net(Scale()), optimizer=SGD(0.1), schedule=ZeroSchedule(), input_shape=(1, 8, 8))
    before = model.sha256()
    model.fit(digits(), epochs=1, batch_size=30, verbose=False)
    assert model.sha256() == before


@dataclass(frozen=True)
class WrongGradientScale(Scale):
    def backward(self, params, cache, dy):
        dx, dparams = super().backward(params, cache, dy)
        return 1.001 * dx, dparams


def test_verify_finds_a_wrong_backward_pass_and_names_the_layer():
    x, y = digits(0, 4).x, digits(0, 4).y
    assert Model(make_net(Scale(), conv=Conv2d(2, 3)), input_shape=(1, 8, 8)).verify(x, y).ok
    verification = Model(make_net(WrongGradientScale(), conv=Conv2d(2, 3)), input_shape=(1, 8, 8)).verify(x, y)
    assert not verification.ok
    assert verification.culprit is not None
    assert verification.culprit.startswith("scale")


def with_onnx_method(write):
    return type("Written", (Scale,), {"onnx": lambda self, nodes: write(nodes)})


WRONG_ONNX_METHODS = {
    "Written: its method onnx must end with nodes.last": (PellucidError, lambda n: n.inner("Relu", n.x)),
    "Written: no parameter 'weight'; known: factor": (PellucidError, lambda n: n.last("Mul", n.x, n.param("weight"))),
    "the method onnx of Written writes invalid nodes": (PellucidError, lambda n: n.last("Mull", n.x)),
    "the ONNX file would differ from the network": (ParityError, lambda n: n.last("Neg", n.x)),
    "see the method onnx of Written": (ParityError, lambda n: n.last("Neg", n.x)),
}


@pytest.mark.parametrize("message", WRONG_ONNX_METHODS)
def test_a_wrong_onnx_method_is_refused_and_its_layer_named(tmp_path, message):
    error, write = WRONG_ONNX_METHODS[message]
    model = Model(make_net(with_onnx_method(write)()), input_shape=(1, 8, 8))
    with pytest.raises(error) as caught:
        to_onnx(model, tmp_path / "m.onnx")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_layer_without_registered_class_is_exported_as_plain_nodes(tmp_path):
    kind = with_onnx_method(lambda n: n.last("Neg", n.inner("Neg", n.inner("Mul", n.x, n.param("factor")))))
    model = Model(make_net(kind(0.5)), input_shape=(1, 8, 8))
    assert to_onnx(model, tmp_path / "m.onnx").difference < 1e-6
    loaded_net, params = from_onnx(tmp_path / "m.onnx")
    assert [type(node[0]).__name__ for node in loaded_net.nodes.values()].count("AffineMap") >= 2
    x = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(loaded_net.forward(params, x, Mode())[0], model(x))


class CustomSequential(Sequential):
    """A user-defined combinator."""


@dataclass(frozen=True)
class WithoutOnnx(Scale):
    """A layer without a method for ONNX."""

    onnx = Layer.onnx


def test_layers_that_cannot_be_exported_are_named(tmp_path):
    model = Model(make_net(WithoutOnnx()), input_shape=(1, 8, 8))
    with pytest.raises(PellucidError, match="no ONNX operators for the layers WithoutOnnx; use pellucid's own, or"):
        to_onnx(model, tmp_path / "m.onnx")
    for one, name in ((WithoutOnnx(), "WithoutOnnx"), (CustomSequential(ReLU()), "CustomSequential")):
        with pytest.raises(PellucidError, match=rf"for the layers {name}; .*torch_code\(self, shape\)"):
            to_torch(Model(make_net(one), input_shape=(1, 8, 8)), tmp_path / "m.py")
