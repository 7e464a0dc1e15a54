"""Networks of PyTorch that mix the examples of a batch are found, and those that exchange axes rightly are not."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from pellucid.data.source import Arrays
from pellucid.doctor import Case
from pellucid.doctor.checks.mixed_examples import CHECK

N, T, D = 30, 8, 6  # as many time steps as examples in the batch of the check


class Network(nn.Module):
    """A function of a module's outputs, for inputs (N, T, D)."""

    def __init__(self, call: Callable[[Any, Tensor], Tensor], inner: nn.Module | None = None, width: int = D) -> None:
        super().__init__()
        self.call = call
        self.inner = inner or nn.Linear(D, D)
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self, x)


def case(network: nn.Module, *shape: int) -> Case:
    x = torch.randn(N, *(shape or (T, D)), generator=torch.Generator().manual_seed(0))
    model = pellucid.open(network, x[:3])
    return Case(model, Arrays(x, torch.arange(N) % 3), None, lambda: model)


def last_step(network: Any, x: Tensor) -> Tensor:
    return network.head(network.inner(x)[0][:, -1])


def mean_step(network: Any, x: Tensor) -> Tensor:
    return network.head(network.inner(x)[0].mean(1))


def encoded(network: Any, x: Tensor) -> Tensor:
    return network.head(network.inner(x).mean(1))


def attended(network: Any, x: Tensor) -> Tensor:
    return network.head(network.inner(x, x, x, need_weights=False)[0].mean(1))


def weighted(network: Any, x: Tensor) -> Tensor:
    return network.head(network.inner(x, x, x)[0].mean(1))


RECURRENT: list[tuple[Callable[..., nn.Module], Callable[[Any, Tensor], Tensor], int, dict[str, Any]]] = [
    (kind, call, width, options)
    for kind in (nn.LSTM, nn.GRU, nn.RNN)
    for call in (last_step, mean_step)
    for width, options in ((9, {}), (9, {"num_layers": 2}), (18, {"bidirectional": True}))
]


@pytest.mark.parametrize(("kind", "call", "width", "options"), RECURRENT)
def test_a_recurrent_layer_along_the_batch_is_found(kind: Any, call: Any, width: int, options: Any) -> None:
    for batch_first in (True, False):
        network = Network(call, kind(D, 9, batch_first=batch_first, **options), width)
        findings = CHECK.find(trained := case(network))
        if batch_first:
            assert findings == []
            continue
        (finding,) = findings
        assert (finding.path, finding.evidence["layer"]) == ("inner", kind.__name__)
        assert finding.fix.startswith("set batch_first=True in this layer")
        assert finding.remedy is not None
        mended = finding.remedy.apply(trained)
        assert CHECK.find(mended) == []
        right = Network(call, kind(D, 9, batch_first=True, **options), width)
        right.load_state_dict(network.state_dict())
        torch.testing.assert_close(mended.model(trained.train.x), right(trained.train.x), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("margin", [1, 3])
def test_a_recurrent_layer_that_reads_only_a_constant_margin_is_found(kind: Any, margin: int) -> None:
    for is_first in (True, False):
        trained = case(Network(last_step, kind(D, 9, batch_first=is_first), 9))
        trained.train.x[:, -margin:] = -0.4  # as the last rows of centred images
        findings = CHECK.find(trained)
        assert [finding.path for finding in findings] == ([] if is_first else ["inner"])


def encoder(batch_first: bool) -> nn.Module:
    layer = nn.TransformerEncoderLayer(D, 2, 12, dropout=0.0, batch_first=batch_first)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


ATTENTION: list[tuple[Callable[[bool], nn.Module], Callable[[Any, Tensor], Tensor]]] = [
    (lambda batch_first: nn.MultiheadAttention(D, 2, batch_first=batch_first), attended),
    (lambda batch_first: nn.MultiheadAttention(D, 3, batch_first=batch_first), weighted),
    (lambda batch_first: nn.TransformerEncoderLayer(D, 2, 12, 0.0, batch_first=batch_first), encoded),
    (encoder, encoded),
]


@pytest.mark.parametrize(("make", "call"), ATTENTION)
def test_attention_between_examples_is_found(make: Any, call: Any) -> None:
    (finding,) = CHECK.find(case(Network(call, make(False))))
    assert finding.path.startswith("inner")
    assert "set batch_first=True" in finding.fix
    assert CHECK.find(case(Network(call, make(True)))) == []


def stacked(is_first: bool) -> nn.Module:
    class Stacked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = (nn.LSTM(size, 9, batch_first=is_first) for size in (D, 9))

        def forward(self, x: Tensor) -> tuple[Tensor]:
            return (self.two(F.relu(self.one(x)[0]))[0],)

    return Stacked()


def test_all_recurrent_layers_are_turned() -> None:
    (finding,) = CHECK.find(trained := case(Network(last_step, stacked(is_first=False), 9)))
    assert finding.path == "inner.one"
    assert finding.remedy is not None
    assert CHECK.find(finding.remedy.apply(trained)) == []


def flat(network: Any, x: Tensor) -> Tensor:
    return network.inner(x).mean(1)


MIXING: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "softmax over the batch": lambda net, x: net.head(flat(net, x).exp() / flat(net, x).exp().sum(0)),
    "logarithm of a softmax over the batch": lambda net, x: net.head(flat(net, x) - flat(net, x).logsumexp(0)),
    "unit length over the batch": lambda net, x: net.head(F.normalize(flat(net, x), dim=0)),
    "mean of the batch": lambda net, x: net.head(flat(net, x) - flat(net, x).mean(0)),
    "standardized by the batch": lambda net, x: net.head((x.mean(1) - x.mean((0, 1))) / x.std((0, 1))),
    "maximum of the batch": lambda net, x: net.head(flat(net, x) / flat(net, x).abs().amax()),
    "sum over the batch": lambda net, x: net.head(flat(net, x).cumsum(0)),
    "exchanged by reshape": lambda net, x: net.head(net.inner(x.reshape(T, -1, D)).mean(0)),
    "exchanged before flattening": lambda net, x: net.head(x.transpose(0, 1).reshape(-1, T, D).mean(1)),
    "rows of other examples": lambda net, x: net.head(x[:, 0].repeat(2, 1).reshape(-1, 2, D)[:, 1]),
}


@pytest.mark.parametrize("call", MIXING.values(), ids=[*MIXING])
def test_other_layers_that_mix_examples_are_found(call: Any) -> None:
    (finding,) = CHECK.find(case(Network(call)))
    assert finding.remedy is None
    assert float(finding.evidence["share_of_mixed_outputs"]) > 0.3


def by_time(network: Any, x: Tensor) -> Tensor:
    return network.head(network.inner(x.transpose(0, 1))[0][-1])


HEALTHY: dict[str, Network] = {
    "recurrent with exchanged axes": Network(by_time, nn.LSTM(D, 9), 9),
    "last state": Network(lambda net, x: net.head(net.inner(x.transpose(0, 1))[1][-1]), nn.GRU(D, 9), 9),
    "attention with exchanged axes": Network(
        lambda net, x: net.head(net.inner(*[x.transpose(0, 1)] * 3)[0].mean(0)), nn.MultiheadAttention(D, 2)
    ),
    "all steps as one axis": Network(lambda net, x: net.head(net.inner(x.reshape(-1, D))).reshape(-1, T, 3).mean(1)),
    "softmax over the steps": Network(lambda net, x: net.head((net.inner(x).softmax(1) * x).sum(1))),
    "softmax less the largest of all": Network(lambda net, x: (net.head(flat(net, x)) - x.amax()).softmax(1)),
    "layer normalization": Network(encoded, nn.LayerNorm(D)),
    "batch normalization of steps": Network(encoded, nn.BatchNorm1d(T)),
    "dropout": Network(encoded, nn.Dropout(0.5)),
    "steps first in the outputs": Network(lambda net, x: net.head(net.inner(x)).transpose(0, 1)),
    "a table of places": Network(lambda net, x: net.head((x + net.inner.weight[:1]).mean(1))),
    "a sum of several": Network(lambda net, x: net.head(x.mean(1) + x[:, 0] * flat(net, x))),
}


@pytest.mark.parametrize("network", HEALTHY.values(), ids=[*HEALTHY])
def test_layers_that_exchange_axes_mix_nothing(network: Network) -> None:
    assert CHECK.find(case(network)) == []


@pytest.mark.parametrize(
    "layers",
    [
        (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()),
        (nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.MaxPool2d(2)),
        (nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4), nn.Dropout2d(0.5)),
        (nn.Conv2d(3, 4, 3), nn.Softmax2d()),
    ],
)
def test_convolutional_networks_mix_nothing(layers: Any) -> None:
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3))
    assert CHECK.find(case(network, 3, 12, 12)) == []
