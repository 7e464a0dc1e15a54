"""Attributes and calls of PyTorch that Pellucid does not have are answered with the right call."""

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import nn

import pellucid
from pellucid import Dense, Flatten, Layer, Model, PellucidError, Sequential
from pellucid.base.foreign import MODEL_ANSWERS, NETWORK_ANSWERS

# What the answer to an attribute of a module names.
CALLS = {
    "parameters": "model.weights",
    "state_dict": "model.weights",
    "load_state_dict": "model.load_weights(file)",
    "to": 'Model(net, device="cuda")',
    "cuda": 'Model(net, device="cuda")',
    "half": 'precision="bf16"',
    "train": "fit trains",
    "eval": "predict, evaluate and model(x) do not",
    "zero_grad": "model.trace(x, y)",
    "requires_grad_": 'model.freeze("features.*")',
    "named_modules": "model.layers",
    "register_forward_hook": "model.trace(x, y)",
    "export": "pellucid.export.to_onnx(model",
    "predict_proba": "model.predict(x)",
    "decision_function": "model(x)",
    "score": "model.evaluate(x, y)",
}


@pytest.fixture
def model() -> Model:
    return Model(Sequential(Flatten(), Dense(3)), input_shape=(1, 4, 4))


@pytest.mark.parametrize(("name", "call"), CALLS.items())
def test_attributes_of_modules_are_answered_with_the_right_call(model: Model, name: str, call: str):
    for value in (model, model.net, Dense(3)):
        with pytest.raises(AttributeError) as failure:
            getattr(value, name)
        message = str(failure.value)
        assert message.startswith(f"{type(value).__name__!r} object has no attribute {name!r}: ")
        assert call in message
        assert "\n" not in message
        assert not hasattr(value, name)


def test_answers_are_for_attributes_that_do_not_exist(model: Model):
    from sklearn.linear_model import LogisticRegression

    module_names = {*dir(nn.Linear(1, 1)), *dir(torch.optim.SGD([torch.zeros(1)])), "backward", "export"}
    assert MODEL_ANSWERS.keys() <= module_names | {*dir(LogisticRegression())}
    assert not MODEL_ANSWERS.keys() & {*dir(model)}
    assert not NETWORK_ANSWERS.keys() & {*dir(model.net)}


def test_expressions_in_answers_exist(model: Model):
    for path in ("weights", "save", "load_weights", "load", "freeze", "unfreeze", "trace", "layers", "fit", "predict"):
        assert hasattr(model, path)
    from pellucid.export import to_onnx, to_torch

    assert callable(to_onnx)
    assert callable(to_torch)


def test_other_unknown_attributes_have_the_usual_message(model: Model):
    for value in (model, model.net):
        with pytest.raises(AttributeError, match=rf"^'{type(value).__name__}' object has no attribute 'wieghts'$"):
            _ = value.wieghts


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_models_and_networks_can_be_copied_and_pickled(model: Model, copied: Any):
    x = torch.rand(2, 1, 4, 4)
    assert torch.equal(copied(model)(x), model(x))
    assert copied(model.net) == model.net


def test_estimators_with_a_network_can_be_cloned():
    from sklearn.base import clone

    from pellucid.estimators import NetworkClassifier

    estimator = NetworkClassifier(network=Sequential(Dense(4)))
    assert clone(estimator).get_params()["network"] == estimator.network


def test_layers_of_ones_own_keep_their_own_methods():
    class Own(Layer):
        def init(self, shape: Any, rng: Any) -> Any:
            return {}, shape

        def forward(self, params: Any, x: Any, mode: Any) -> Any:
            return x, ()

        def backward(self, params: Any, cache: Any, dy: Any) -> Any:
            return dy, {}

        def parameters(self) -> int:
            return 7

    assert Own().parameters() == 7


def test_model_of_a_module_names_open():
    with pytest.raises(PellucidError, match=r"is Linear, a module of PyTorch; .*pellucid.open\(module, example\)"):
        Model(nn.Linear(3, 2))  # type: ignore[arg-type]


@pytest.mark.parametrize("arguments", [["model"], ["model", "x"], ["model", "x", "y"], ["x"]])
def test_gradient_of_a_model_names_the_right_calls(model: Model, arguments: list[str]):
    values: dict[str, Any] = {"model": model, "x": torch.rand(2, 1, 4, 4), "y": torch.tensor([0, 1])}
    with pytest.raises(PellucidError, match=r"for gradients, call model.trace\(x, y\)"):
        pellucid.gradient(*(values[name] for name in arguments))
