"""A user-defined activation, one registered class, supports everything that Pellucid's own activations support."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import onnxruntime
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import pellucid
from pellucid import Adam, Conv2d, Dense, Flatten, Layer, Mode, Model, Sequential
from pellucid.explain import lrp
from pellucid.explain.receptive_field import receptive_fields
from pellucid.explain.sweeps import forward_to
from pellucid.export import from_onnx, to_onnx, to_torch
from pellucid.extend.registry import REGISTERED
from pellucid.fuse.inference import inference
from pellucid.layers.base import Trait
from pellucid.network.drawing import draw_network
from tests.training.small import digits


class SoftplusCache(NamedTuple):
    x: Tensor


@dataclass(frozen=True)
class Softplus(Layer):
    """y = ln(1 + exp(beta x)) / beta. Source: Dugas et al. 2001."""

    traits = Trait.ELEMENTWISE | Trait.ACTIVATION | Trait.SMOOTH_RECTIFIER

    beta: float = 1.0

    def init(self, shape, rng):
        return {}, shape

    def forward(self, params, x, mode):
        return (self.beta * x).exp().log1p() / self.beta, SoftplusCache(x)

    def backward(self, params, cache, dy):
        return dy / (1 + (-self.beta * cache.x).exp()), {}

    def onnx(self, nodes):
        scaled = nodes.inner("Mul", nodes.x, nodes.number("beta", self.beta))
        nodes.last("Div", nodes.inner("Softplus", scaled), nodes.number("beta", self.beta))

    def torch_code(self, shape):
        return f"nn.Softplus({self.beta})"


@pytest.fixture(autouse=True)
def register_softplus(monkeypatch):
    monkeypatch.setattr("pellucid.extend.registry.REGISTERED", dict(REGISTERED))
    pellucid.register(Softplus)


def network():
    return Sequential(
        conv=Conv2d(4, 3, stride=2), act1=Softplus(2.0), flat=Flatten(), dense=Dense(8), act2=Softplus(), out=Dense(10)
    )


@pytest.fixture(scope="module")
def model():
    trained_model = Model(network(), optimizer=Adam(0.01), seed=1)
    losses = trained_model.fit(digits(), epochs=6, batch_size=30, verbose=False)["train_loss"]
    assert losses[-1] < 0.9 * losses[0]
    return trained_model


def reference_logits(weights, x):
    """Return the logits and the outputs of the last activation, by PyTorch's functions."""
    maps = F.softplus(F.conv2d(x, weights["conv.weight"], weights["conv.bias"], stride=2), 2.0)
    hidden = F.softplus(F.linear(maps.flatten(1), weights["dense.weight"], weights["dense.bias"]))
    return F.linear(hidden, weights["out.weight"], weights["out.bias"]), hidden


def float64_weights(model):
    return {path: weight.double() for path, weight in model.weights.items()}


def test_a_user_defined_activation_trains_saves_loads_and_verifies(model, tmp_path):
    model.save(tmp_path / "own.safetensors")
    same = Model.load(tmp_path / "own.safetensors")
    assert same.net == network()
    test = digits(300, 320)
    logits, _ = reference_logits(model.weights, test.x)
    assert same.evaluate(test)["loss"] == pytest.approx(F.cross_entropy(logits, test.y).item(), rel=1e-5)
    assert model.verify(test.x[:4], test.y[:4]).ok


def test_the_fused_form_gives_equal_predictions(model):
    x = digits(300, 310).x
    result = inference(model.net, model.params)(x.clone())
    torch.testing.assert_close(result, reference_logits(model.weights, x)[0], rtol=1e-4, atol=1e-5)


def test_a_trace_contains_the_derivative_of_the_activation(model):
    test = digits(300, 303)
    trace = model.trace(test.x, test.y, dtype=torch.float64)
    weights = {path: one.requires_grad_() for path, one in float64_weights(model).items()}
    logits, _ = reference_logits(weights, test.x.double())
    (slope,) = torch.autograd.grad(F.cross_entropy(logits, test.y), weights["dense.bias"])
    explanation = trace.explain("dense.bias[3]", expand=2)
    assert explanation.gradient == pytest.approx(slope[3].item(), rel=1e-9)
    link = trace.explain("dense.y[0, 3]").links[0]  # one output of the activation depends on this value
    assert link.where == "act2"
    (term,) = link.terms
    assert term.factors[1].name == "∂y/∂x"
    assert term.factors[1].value == pytest.approx(1 / (1 + math.exp(-trace["dense.y"][0, 3].item())), rel=1e-12)


@pytest.mark.heavy
@pytest.mark.slow
def test_exported_files_agree_with_pytorch(model, tmp_path):
    x = digits(300, 310).x
    logits, _ = reference_logits(model.weights, x)
    to_onnx(model, tmp_path / "own.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "own.onnx", providers=["CPUExecutionProvider"])
    torch.testing.assert_close(torch.from_numpy(session.run(None, {"input": x.numpy()})[0]), logits)
    net, params = from_onnx(tmp_path / "own.onnx")  # converted to layers of Pellucid
    torch.testing.assert_close(net.forward(params, x, Mode(keep=False))[0], logits)
    assert to_torch(model, tmp_path / "own.py").difference < 1e-5
    assert '"act1": nn.Softplus(2.0),' in (tmp_path / "own.py").read_text(encoding="utf-8")


def test_a_drawing_shows_the_activation_in_the_box_of_the_previous_layer():
    figure = draw_network(network(), (1, 8, 8))
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert sum("Softplus(beta=2.0)" in text for text in texts) == 1
    assert not any(text.startswith("act1") for text in texts)


def test_relevance_passes_through_the_activation(model):
    x = digits(300, 302).x.double()
    weights = float64_weights(model)
    logits, hidden = reference_logits(weights, x)
    target = logits.argmax(1)
    params = {name: {key: value.double() for key, value in part.items()} for name, part in model.params.items()}
    actual = lrp(model.net, params, x, target, composite="epsilon", epsilon=1e-9)

    # matrix form: R_i = x_i Σ_j w_ij R_j / z_j for each layer with weights; activations leave relevance unchanged
    def epsilon_relevance(weight, below, z, relevance):
        return below * ((relevance / z) @ weight)

    score = torch.zeros_like(logits).scatter(1, target[:, None], logits.gather(1, target[:, None]))
    conv_output = F.conv2d(x, weights["conv.weight"], weights["conv.bias"], stride=2)
    maps = F.softplus(conv_output, 2.0).flatten(1)
    z = F.linear(maps, weights["dense.weight"], weights["dense.bias"])
    relevance = epsilon_relevance(weights["out.weight"], hidden, logits, score)
    relevance = epsilon_relevance(weights["dense.weight"], maps, z, relevance).view(conv_output.shape)
    pooled_relevance = F.conv_transpose2d(relevance / conv_output, weights["conv.weight"], stride=2)
    expected = x * F.pad(pooled_relevance, (0, 8 - pooled_relevance.shape[3], 0, 8 - pooled_relevance.shape[2]))
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-7)


def test_receptive_fields_pass_through_the_activation():
    net = Sequential(conv=Conv2d(2, 3, padding=1), act=Softplus(), conv2=Conv2d(1, 3, padding=1))
    params, _ = net.init((1, 9, 9), torch.Generator().manual_seed(0))
    passes = forward_to(net, params, torch.randn(1, 1, 9, 9), "conv2[0, 4, 4]")
    assert receptive_fields(passes).tolist() == [[2, 2, 7, 7]]
