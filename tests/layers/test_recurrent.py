"""LSTM, GRU and RNN against PyTorch's modules: outputs, all gradients, and opened networks that contain them."""

import itertools
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.base.errors import PellucidError
from pellucid.layers import GRU, LSTM, RNN, Mode
from pellucid.layers.recurrent import Recurrent
from tests.opening.test_opened import assert_equal_gradients, autograd_gradients

MODULES = {LSTM: nn.LSTM, GRU: nn.GRU, RNN: nn.RNN}
OPTIONS = [
    (layer_type, levels, bidirectional, bias, output)
    for layer_type in MODULES
    for levels, bidirectional, bias in itertools.product((1, 2), (False, True), (False, True))
    for output in layer_type.outputs
]


@pytest.mark.parametrize(("layer_type", "levels", "bidirectional", "bias", "output"), OPTIONS)
def test_outputs_and_gradients_equal_pytorchs(
    layer_type: type[Recurrent], levels: int, bidirectional: bool, bias: bool, output: Any
) -> None:
    torch.manual_seed(levels)
    module = MODULES[layer_type](5, 4, levels, bias=bias, batch_first=True, bidirectional=bidirectional).double()
    layer = layer_type(4, levels, bidirectional, bias, output)
    params = {name: value.detach().clone() for name, value in module.named_parameters()}
    x = torch.randn(3, 7, 5, dtype=torch.float64, requires_grad=True)
    sequence, last = module(x)
    last = last if isinstance(last, tuple) else (last,)
    expected = {"sequence": sequence, "state": last[0], "cell": last[-1]}[output]
    y, cache = layer.forward(params, x.detach(), Mode())
    dy = torch.randn_like(expected)
    expected_dx, *expected_gradients = torch.autograd.grad(expected, [x, *module.parameters()], dy, allow_unused=True)
    dx, dparams = layer.backward(params, cache, dy)
    torch.testing.assert_close(y, expected.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(dx, expected_dx, rtol=1e-11, atol=1e-12)
    assert dparams.keys() == params.keys()
    for name, gradient in zip(params, expected_gradients, strict=True):
        expected_gradient = torch.zeros_like(params[name]) if gradient is None else gradient
        torch.testing.assert_close(dparams[name], expected_gradient, rtol=1e-11, atol=1e-12)
    drawn, _ = layer.init((7, 5), torch.Generator().manual_seed(0))
    assert {name: value.shape for name, value in drawn.items()} == {name: value.shape for name, value in params.items()}
    assert all(0.1 < float(value.abs().max()) <= 0.5 for value in drawn.values())  # 1 / sqrt(4)
    assert set(layer.decayed) == {name for name in params if name.startswith("weight")}


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_plain_layer_with_relu_equals_pytorchs(bidirectional: bool) -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {"nonlinearity": "relu", "bidirectional": bidirectional}
    module = nn.RNN(5, 4, 2, batch_first=True, **options).double()
    layer = RNN(4, 2, **options)
    params = {name: value.detach().clone() for name, value in module.named_parameters()}
    x = torch.randn(3, 7, 5, dtype=torch.float64, requires_grad=True)
    expected, _ = module(x)
    y, cache = layer.forward(params, x.detach(), Mode())
    dy = torch.randn_like(expected)
    dx, dparams = layer.backward(params, cache, dy)
    torch.testing.assert_close(y, expected.detach(), rtol=1e-12, atol=1e-12)
    expected_dx, *gradients = torch.autograd.grad(expected, [x, *module.parameters()], dy)
    torch.testing.assert_close(dx, expected_dx, rtol=1e-11, atol=1e-12)
    for name, gradient in zip(params, gradients, strict=True):
        torch.testing.assert_close(dparams[name], gradient, rtol=1e-11, atol=1e-12)


class Reader(nn.Module):
    """A network that reads the columns of an image."""

    def __init__(self, module: Any, use: str, **options: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.read = module(4 * 6, 5, **options)
        self.use = use
        self.batch_first = options.get("batch_first", False)
        factor = 2 if options.get("bidirectional") else 1
        self.head = nn.Linear(5 * factor, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).relu().flatten(1, 2).transpose(1, 2)
        sequence, last = self.read(x if self.batch_first else x.transpose(0, 1))
        if not self.batch_first:
            sequence = sequence.transpose(0, 1)
        states = last if isinstance(last, tuple) else (last,)
        value = {"sequence": sequence[:, -1], "mean": sequence.mean(1)}.get(self.use)
        if value is None:
            value = (states[0] if self.use == "state" else states[-1])[-self.read.bidirectional - 1 :]
            value = value.transpose(0, 1).flatten(1)
        return self.head(value)


@pytest.mark.parametrize("module", [nn.LSTM, nn.GRU, nn.RNN, partial(nn.RNN, nonlinearity="relu")])
@pytest.mark.parametrize("use", ["sequence", "mean", "state", "cell"])
@pytest.mark.parametrize("options", [
    {}, {"batch_first": True, "bidirectional": True}, {"num_layers": 2, "bidirectional": True, "bias": False},
], ids=str)  # fmt: skip
def test_opened_networks_equal_pytorchs(module: Any, use: str, options: dict[str, Any]) -> None:
    torch.manual_seed(1)
    network = Reader(module, use, **options).double().eval()
    x = torch.rand(2, 3, 8, 9, dtype=torch.float64)
    model = pellucid.open(network, x)
    assert {name for name in model.weights if name.startswith("read")} == {
        f"read.{name}" for name, _ in network.read.named_parameters()
    }
    y = model(x)
    torch.testing.assert_close(y, network(x).detach(), rtol=1e-12, atol=1e-12)
    dy = torch.randn(y.shape, dtype=torch.float64)
    assert_equal_gradients(model.gradients(x, dy), autograd_gradients(network, x, dy))


class WithState(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.read = nn.GRU(5, 4, batch_first=True)
        self.start = nn.Parameter(torch.ones(1, 1, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.read(x, self.start.expand(-1, len(x), -1))[0]


def test_other_options_are_refused_by_name() -> None:
    x = torch.rand(2, 7, 5)
    with pytest.raises(PellucidError, match=r"getitem \(lstm with projections of its state\), 1 call, first in read"):
        pellucid.open(_First(nn.LSTM(5, 4, proj_size=2, batch_first=True)), x)
    dropped = _First(nn.GRU(5, 4, 2, dropout=0.5, batch_first=True)).eval()
    torch.testing.assert_close(pellucid.open(dropped, x)(x), dropped(x).detach())  # as in evaluation mode
    with pytest.raises(PellucidError, match=r"gru with an initial state that is not 0"):
        pellucid.open(WithState(), x)
    with pytest.raises(PellucidError, match="GRU: output 'cell'; known: sequence, state"):
        GRU(3, output="cell")
    with pytest.raises(PellucidError, match=r"LSTM takes sequences \(steps, values\), not \(3, 8, 8\)"):
        LSTM(3).init((3, 8, 8), torch.Generator())


class _First(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.read = module

    def forward(self, x: Tensor) -> Tensor:
        return self.read(x)[0]
