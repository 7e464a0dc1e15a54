"""Errors in user-defined classes are reported in one line with the class, the method, and the expected result."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pellucid
from pellucid import Callback, Dense, Flatten, Graph, Layer, Loss, Model, Parallel, PellucidError, ReLU, Sequential
from pellucid.combine.base import Combinator
from pellucid.layers import Add, Identity
from tests.own.parts import Scale, ScaleCache
from tests.own.test_combinators import Residual
from tests.training.small import digits


class FailOnStep(Callback):
    def on_step(self, training):
        raise AssertionError("a step was taken")


def fit(layer: Layer, loss: Any = "softmax_cross_entropy", metrics: Any = (), **options: Any) -> Model:
    net = Sequential(block=Sequential(mine=layer), flat=Flatten(), scores=Dense(10))
    model = Model(net, loss, metrics=metrics)
    model.fit(digits(), epochs=1, batch_size=100, verbose=False, **options)
    return model


def scale_with(**methods: Any) -> Layer:
    """Return a Scale layer with some methods replaced."""
    return dataclass(frozen=True)(type("Mine", (Scale,), methods))()


def backward_with(change: Any) -> Layer:
    """Return a Scale layer whose backward pass applies `change` to its results."""
    backward = Scale.backward
    return scale_with(backward=lambda self, params, cache, dy: change(*backward(self, params, cache, dy)))


WRONG_LAYERS = {
    "block.mine (Mine): backward returns no gradient for 'factor', which would never be updated": backward_with(
        lambda dx, _: (dx, {})
    ),
    "block.mine (Mine): backward returns a gradient for 'scale', which init does not return; its parameters: factor": (
        backward_with(lambda dx, dparams: (dx, {**dparams, "scale": dparams["factor"]}))
    ),
    "block.mine (Mine): backward must return a gradient of (1, 1, 1) torch.float32 for 'factor', not (1,)": (
        backward_with(lambda dx, dparams: (dx, {"factor": dparams["factor"].flatten()}))
    ),
    "block.mine (Mine): backward must return dx shaped like x, (2, 1, 8, 8) torch.float32, not (1, 8, 8)": (
        backward_with(lambda dx, dparams: (dx.sum(0), dparams))
    ),
    "block.mine (Mine): backward must return (dx, dparams), dparams a dict by parameter, not (2, 1, 8, 8)": (
        backward_with(lambda dx, dparams: dx)
    ),
    "block.mine (Mine): backward raised KeyError: 'weight'": scale_with(
        backward=lambda self, params, cache, dy: (dy, {"factor": params["weight"]})
    ),
    "block.mine (Mine): forward raised AttributeError": scale_with(
        forward=lambda self, params, x, mode: (x.scaled(), x)
    ),
    "block.mine (Mine): forward must return (y, cache), not (2, 1, 8, 8) torch.float32": scale_with(
        forward=lambda self, params, x, mode: x
    ),
    "block.mine (Mine): forward must return y of shape (2, 1, 8, 8), as init returns it, not (2, 1, 4, 8)": scale_with(
        forward=lambda self, params, x, mode: (x[:, :, ::2], ScaleCache(x))
    ),
    "block.mine (Mine): forward changes its input, which other layers read too; return a new tensor": scale_with(
        forward=lambda self, params, x, mode: (x.mul_(params["factor"] + 1), ScaleCache(x))
    ),
    "block.mine (Mine): forward must return y of torch.float32 like x, not torch.float64": scale_with(
        forward=lambda self, params, x, mode: (x.double(), ScaleCache(x))
    ),
    "block.mine: Mine.init raised TypeError": scale_with(init=lambda self, shape, rng: ({}, shape + 1)),
    "block.mine: Mine.init must return (params, shape), params a dict, not (1, 8, 8)": scale_with(
        init=lambda self, shape, rng: shape
    ),
}


@pytest.mark.parametrize("message", WRONG_LAYERS)
def test_errors_of_a_user_defined_layer_name_it(message: str) -> None:
    with pytest.raises(PellucidError) as caught:
        fit(WRONG_LAYERS[message], callbacks=[FailOnStep()])
    assert message in str(caught.value)
    if "raised" in message:
        assert type(caught.value.__cause__).__name__ in message or caught.value.__cause__.__cause__ is not None


def test_verify_names_a_forward_pass_in_place() -> None:
    net = Sequential(mine=scale_with(forward=lambda self, params, x, mode: (x.mul_(2), ScaleCache(x))), flat=Flatten())
    model, data = Model(net, "quadratic", input_shape=(1, 8, 8)), digits(end=2)
    with pytest.raises(PellucidError, match=r"forward of mine \(Mine\) changes its input"):
        model.verify(data.x, torch.zeros(2, 64))


@pytest.mark.parametrize("count", [1, 20])  # few and many inputs use different forms of the network
def test_errors_of_an_untrained_layer_name_it(count: int) -> None:
    raises = scale_with(forward=lambda self, params, x, mode: (x.scaled(), x))
    net = Sequential(block=Sequential(mine=raises), flat=Flatten(), scores=Dense(10))
    model, data = Model(net), digits(end=count)
    with pytest.raises(PellucidError, match="no weights yet"):
        model.predict(data)
    model.build((1, 8, 8))
    for call in (model.predict, model.evaluate, model, model.predictor()):
        with pytest.raises(PellucidError) as caught:
            call(data.x if call not in (model.predict, model.evaluate) else data)
        assert "block.mine (Mine): forward raised AttributeError" in str(caught.value)


def test_an_error_of_a_layer_of_pellucid_is_raised_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(Sequential(mine=Scale(), flat=Flatten(), scores=Dense(10)), input_shape=(1, 8, 8))

    def fail(self, params, x, mode):
        raise RuntimeError("no memory for this")

    monkeypatch.setattr(Flatten, "forward", fail)
    with pytest.raises(RuntimeError, match="no memory for this"):
        model.predict(digits(end=3))


def test_the_parameters_of_a_layer_that_no_output_depends_on_need_no_gradient() -> None:
    nodes = {"used": (Scale(), "input"), "idle": (Scale(), "input")}
    net = Sequential(two=Graph(nodes, ("used",)), flat=Flatten(), scores=Dense(10))
    Model(net).fit(digits(), epochs=1, batch_size=100, verbose=False)


def test_correct_layers_train_with_shared_layers_and_one_example() -> None:
    fit(Scale(2.0, noise=0.1))
    body = Sequential(scale=Scale(), relu=ReLU())
    fit(Parallel((Identity(), body), Add()))
    net = Sequential(mine=Scale(), flat=Flatten(), scores=Dense(10))
    Model(net).fit(digits().x[:1], [3], epochs=1, batch_size=1, verbose=False)


class GradientDroppingResidual(Residual):
    """A combinator that drops the parameter gradients of its body."""

    def sweep(self, params, cache, dy, back):
        dx, dparams = super().sweep(params, cache, dy, back)
        return dx, {name: {} for name in dparams}


def test_a_combinator_that_drops_gradients_is_refused() -> None:
    assert issubclass(GradientDroppingResidual, Combinator)
    body = Sequential(scale=Scale())
    with pytest.raises(PellucidError, match=r"block\.mine\.body\.scale\.factor: a combinator's sweep .* drops its"):
        fit(GradientDroppingResidual(body))


class RaisingLoss(Loss):
    def compute(self, y, target):
        return (y * target).mean(), y


def gradient_of_first(y, target):
    """Return the mean and a gradient for the first example only, which has a wrong shape for larger batches."""
    value = y.mean()
    return value, torch.full((1, y.shape[1]), 1.0 / y.numel())


class FirstExampleLoss(Loss):
    def compute(self, y, target):
        return gradient_of_first(y, target)


def test_errors_of_a_user_defined_loss_name_it() -> None:
    message = (
        r"RaisingLoss: compute, given outputs \(2, 10\) torch.float32 and targets \(2,\) torch.int64, raised RuntimeE"
    )
    with pytest.raises(PellucidError, match=message) as caught:
        fit(Scale(), RaisingLoss(), callbacks=[FailOnStep()])
    assert isinstance(caught.value.__cause__, RuntimeError)
    with pytest.raises(
        PellucidError, match=r"FirstExampleLoss: the gradient must be \(2, 10\) torch.float32 like the outputs"
    ):
        fit(Scale(), FirstExampleLoss(), callbacks=[FailOnStep()])


@dataclass(frozen=True)
class AutogradLoss(Loss):
    """The mean square with a gradient by PyTorch, whose autograd `compute` must enable."""

    with_grad: bool = True

    def compute(self, y, target):
        if not self.with_grad:
            (y.clone().requires_grad_(True) ** 2).mean().backward()
        with torch.inference_mode(False):
            leaf = y.detach().clone().requires_grad_(True)
            (leaf**2).mean().backward()
        return (y**2).mean(), leaf.grad


def test_a_loss_that_uses_pytorchs_gradient_must_enable_it() -> None:
    model = fit(Identity(), AutogradLoss())
    assert model.verify(digits().x[:3], digits().y[:3]).ok
    with pytest.raises(PellucidError, match=r"PyTorch gradients are off here: use `with torch\.inference_mode\(False"):
        fit(Identity(), AutogradLoss(with_grad=False))


def test_errors_of_a_user_defined_metric_name_it() -> None:
    def top(outputs, targets):
        return (outputs.argmax(1) == targets[:, 0]).float().mean()

    with pytest.raises(PellucidError, match="metric top raised IndexError: too many indices") as caught:
        fit(Scale(), metrics=[top], callbacks=[FailOnStep()])
    assert isinstance(caught.value.__cause__, IndexError)


def test_verify_names_the_layer_that_raises_and_the_one_that_writes_into_dy() -> None:
    def in_place(self, params, cache, dy):
        dy_copy = dy.clone()
        dy.mul_(params["factor"])
        return dy, {"factor": (cache.x * dy_copy).sum((0, 2, 3)).view(-1, 1, 1)}

    x, y = digits().x[:3], digits().y[:3]
    wrong_layer = scale_with(backward=in_place)
    blocks = {"one": Scale(0.5), "two": Parallel((Identity(), Scale(2.0), Sequential(mine=wrong_layer)), Add())}
    verification = Model(Sequential(**blocks, flat=Flatten(), scores=Dense(10)), input_shape=(1, 8, 8)).verify(x, y)
    assert verification.ok, "a factor of 1 changes nothing"
    wrong_layer = dataclass(frozen=True)(type("Mine", (Scale,), {"backward": in_place}))(3.0)
    blocks["two"] = Parallel((Identity(), Scale(2.0), Sequential(mine=wrong_layer)), Add())
    verification = Model(Sequential(**blocks, flat=Flatten(), scores=Dense(10)), input_shape=(1, 8, 8)).verify(x, y)
    assert not verification.ok
    assert verification.culprit is not None
    assert "mine (Mine" in verification.culprit
    failed_rows = [row for row in verification.rows if not row.ok and row.form == "written"]
    assert [(row.path.split(".")[-1], row.what, row.note) for row in failed_rows] == [
        ("mine", "dx", "backward writes into dy")
    ]
    model = Model(Sequential(mine=WRONG_LAYERS["block.mine (Mine): backward raised KeyError: 'weight'"], flat=Flatten(),
                             scores=Dense(10)), input_shape=(1, 8, 8))  # fmt: skip
    with pytest.raises(PellucidError, match=r"mine \(Mine\): backward raised KeyError"):
        model.verify(x, y)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            pellucid.Optimizer,
            "lacks the methods init(self, params), update(self, params, grads, state, lr) of Optimizer",
        ),
        (pellucid.Metric, "lacks the methods compute(self), update(self, outputs, targets) of Metric; write them"),
        (pellucid.Loss, "lacks the methods compute(self, y, target) of Loss; write them"),
    ],
)
def test_a_class_without_its_abstract_methods_is_refused(kind: Any, message: str) -> None:
    with pytest.raises(PellucidError) as caught:
        type("Mine", (kind,), {})(0.1) if kind is pellucid.Optimizer else type("Mine", (kind,), {})()
    assert str(caught.value).startswith(f"Mine {message}")


class Descent(pellucid.Optimizer):
    def init(self, params):
        return {}

    def update(self, params, grads, state):
        raise AssertionError("too few arguments to be called")


class NoneSchedule(pellucid.optim.schedules.Plan):
    def at(self, now):
        return None


class WrongRegularizer(pellucid.Regularizer):
    def cost(self, weights, n):
        return weights[0]

    def add_gradient(self, weights, grads, n):
        pass

    def shrink(self, weights, lr):
        pass


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": Descent(0.1)}, r"Descent: update raised TypeError: .*update\(\) takes 4 positional arguments"),
        ({"schedule": NoneSchedule()}, "NoneSchedule: the factor of the learning rate must be a number, not None"),
        (
            {"regularizer": WrongRegularizer()},
            r"WrongRegularizer: cost must return a tensor of one number, not \(10, 64\)",
        ),
    ],
)
def test_errors_of_user_defined_optimizers_schedules_and_regularizers_name_them(options: Any, message: str) -> None:
    model = Model(Sequential(Flatten(), Dense(10)), **options)
    with pytest.raises(PellucidError, match=message):
        model.fit(digits(), epochs=1, callbacks=[FailOnStep()], verbose=False)


@pytest.mark.parametrize(
    ("hook", "suggestion"),
    [
        ("on_train_begin", "on_start"),
        ("on_train_end", "on_end"),
        ("on_batch_end", "on_step"),
        ("on_epoch_begin", "on_epoch_end"),
        ("on_epochs_end", "on_epoch_end"),
    ],
)
def test_a_callback_with_an_unknown_method_is_refused(hook: str, suggestion: str) -> None:
    callback = type("Mine", (Callback,), {hook: lambda self, training: None})()
    with pytest.raises(PellucidError, match=rf"Mine: {hook} is not a hook, .*; did you mean '{suggestion}'\?"):
        fit(Identity(), callbacks=[callback])


class Rows:
    """A source whose batches are plain tuples."""

    classes, checksum = tuple("0123456789"), "1"

    def __len__(self):
        return 100

    def batch(self, indices, rng):
        return digits().x[indices], digits().y[indices]


class RaisingRows(Rows):
    def batch(self, indices, rng):
        raise ValueError("no such row")


@pytest.mark.parametrize("validation", [None, 0.25])
def test_errors_of_a_user_defined_source_name_it(validation: float | None) -> None:
    net, options = Sequential(Flatten(), Dense(10)), {"epochs": 1, "validation": validation, "verbose": False}
    history = Model(net).fit(Rows(), **options)
    expected = Model(net).fit(digits(end=100).x, digits(end=100).y, **options)
    assert history["train_loss"] == expected["train_loss"]
    with pytest.raises(PellucidError, match=r"RaisingRows\.batch raised ValueError: no such row"):
        Model(net).fit(RaisingRows(), **options)


class Items:
    def __len__(self):
        return 3

    def __getitem__(self, k):
        return digits().x[k], 0


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (Items(), r"x is a Items; give a DataLoader of it"),
        ([(torch.zeros(2, 1, 8, 8), torch.zeros(2))] * 2, "x is a list of batches; give a function"),
        (torch.zeros(2, 1, 8, 8), "x has no targets; give a Dataset, or x and y"),
        ("photos", r"x is a path, 'photos'; read its data first: pellucid\.load_folder\('photos'\)"),
        (Path("photos") / "a.npz", "x is a path, 'photos/a.npz'; read its data first"),
        ((torch.zeros(2, 1, 8, 8), torch.zeros(2).long()), "x is a pair of arrays; give .* as two arguments, x, y"),
        ([np.zeros((2, 64)), np.zeros(2)], "x is a pair of arrays; give .* as two arguments, x, y"),
    ],
)
def test_data_without_targets_are_refused(x: Any, message: str) -> None:
    with pytest.raises(PellucidError, match=message):
        Model(Sequential(Flatten(), Dense(10))).fit(x, epochs=1, verbose=False)
