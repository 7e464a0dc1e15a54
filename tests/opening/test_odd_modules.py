"""Unusual modules: names of operators, frozen and shared parameters, state, two inputs, custom backward passes."""

import sys
from collections import OrderedDict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from pellucid.base.errors import PellucidError
from tests.opening.test_opened import assert_equal_gradients, autograd_gradients, images

VECTORS = torch.randn(8, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = torch.arange(8) % 3


def assert_opens(network: nn.Module, x: Tensor = VECTORS) -> pellucid.Model:
    """Open a network, and compare its outputs and gradients."""
    model = pellucid.open(network, x[:2])
    y = network(x).detach()
    torch.testing.assert_close(model(x), y, rtol=1e-12, atol=1e-12)
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(2), dtype=y.dtype)
    assert_equal_gradients(model.gradients(x, dy), autograd_gradients(network, x, dy))
    return model


class Reversal(torch.autograd.Function):
    """Gradient reversal (Ganin and Lempitsky 2015): the identity, with the negated gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Tensor:  # type: ignore[override]
        return -dy


class Doubling(torch.autograd.Function):
    """y = 2 x, with the correct derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Tensor:  # type: ignore[override]
        return 2 * dy


class ApplyFunction(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.dense, self.function = nn.Linear(6, 3), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(self.dense(x))


def test_a_backward_pass_that_is_not_the_derivative_is_refused_by_name() -> None:
    with pytest.raises(PellucidError, match="Reversal has a backward pass that is not the derivative"):
        pellucid.open(ApplyFunction(Reversal).double(), VECTORS[:2])
    assert_opens(ApplyFunction(Doubling).double())
    assert torch.autograd.Function.__dict__["apply"].__func__.__module__ == "torch.autograd.function"


def test_frozen_parameters_stay_frozen(capsys: pytest.CaptureFixture[str]) -> None:
    network = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3)).double()
    network[0].requires_grad_(False)
    model = pellucid.open(network, VECTORS[:2])
    assert "2 parameters frozen in the network stay frozen" in capsys.readouterr().err
    model.compile(optimizer=pellucid.Momentum(0.1))
    model.fit(VECTORS, LABELS, epochs=1, verbose=False)
    assert torch.equal(model.weights["0.weight"], network[0].weight)
    assert not torch.equal(model.weights["2.weight"], network[2].weight)


def test_a_batch_norm_that_averages_all_batches_is_noted(capsys: pytest.CaptureFixture[str]) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=None)).double().eval()
    pellucid.open(network, images(2))
    assert "1 averages its statistics over all batches (momentum=None)" in capsys.readouterr().err


class WeightAsOutput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.dense(x), self.dense.weight


def test_the_gradients_of_a_parameter_that_is_also_an_output_are_added() -> None:
    network = WeightAsOutput().double()
    model = pellucid.open(network, VECTORS[:2])
    assert model.summary().parameters == 21
    dys = torch.ones(8, 3, dtype=torch.float64), torch.ones(3, 6, dtype=torch.float64)
    (expected,) = torch.autograd.grad(network(VECTORS), [network.dense.weight], dys)
    torch.testing.assert_close(model.gradients(VECTORS, dys)["dense.weight"], expected)


class Transposed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.randn(6, 6))
        self.register_buffer("b", self.a.data.t())

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.a)


def test_a_transposed_view_of_a_parameter_has_its_own_values() -> None:
    network = Transposed().double()
    network.b = network.a.data.t()
    model = assert_opens(network)
    assert all(torch.equal(tensor, network.state_dict()[key]) for key, tensor in model.state_dict().items())


@pytest.mark.parametrize("name", ["add", "relu", "input"])
def test_a_module_may_have_the_name_of_an_operator_or_of_the_input(name: str) -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(6, 3)
            self.add_module(name, nn.Linear(3, 3))

        def forward(self, x: Tensor) -> Tensor:
            return self.get_submodule(name)(F.relu(self.first(x) + 1))

    assert_opens(Named().double())


class MergesWeights(nn.Module):
    """LoRA that adds its product to the weight in place for evaluation, and subtracts it for training."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.merged = nn.Parameter(torch.randn(3, 6)), False
        self.a, self.b = nn.Parameter(torch.randn(2, 6)), nn.Parameter(torch.randn(3, 2))

    def train(self, mode: bool = True) -> "MergesWeights":
        super().train(mode)
        if mode is self.merged:
            self.weight.data += (-1 if mode else 1) * self.b.data @ self.a.data
            self.merged = not mode
        return self

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.weight)
        return y if self.merged else y + F.linear(F.linear(x, self.a), self.b)


class ChangesTables(nn.Module):
    """A module that stores its inputs in containers."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: Any = [[], deque(), {}, OrderedDict(), set()]
        self.list, self.deque, self.dict, self.ordered, self.set = self.tables
        self.dense = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.list.append(x)
        self.deque.append(x)
        self.dict["x"] = self.ordered["x"] = x
        self.set.add(x)
        return self.dense(x)


def test_opening_leaves_weights_and_containers_unchanged() -> None:
    merging = nn.Sequential(MergesWeights()).double()
    before = merging(VECTORS).detach()
    with pytest.raises(PellucidError, match="differs from the network's"):  # with the merged weight
        pellucid.open(merging, VECTORS[:2])
    torch.testing.assert_close(merging(VECTORS).detach(), before, rtol=1e-12, atol=1e-12)
    storing = ChangesTables().double()
    pellucid.open(storing, VECTORS[:2])
    assert [len(one) for one in storing.tables] == [0] * 5
    assert storing.dict is storing.tables[2]


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.dense = nn.Conv2d(3, 4, 3), nn.Linear(6, 4)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.conv(a).mean((2, 3)) * self.dense(b)


def test_a_network_with_two_inputs_computes_outputs_and_gradients(tmp_path: Path) -> None:
    network, x = TwoInputs().double(), (images(8), VECTORS)
    model = pellucid.open(network, (x[0][:2], x[1][:2]))
    y = network(*x)
    torch.testing.assert_close(model(x), y.detach(), rtol=1e-12, atol=1e-12)
    leaves = [value.clone().requires_grad_() for value in x]
    expected = torch.autograd.grad(network(*leaves).sum(), [*leaves, network.conv.weight])
    gradients = model.gradients(x, torch.ones_like(y))
    for gradient, reference in zip((*gradients["input"], gradients["conv.weight"]), expected, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-10, atol=1e-12)
    with pytest.raises(PellucidError, match="x must be a tuple of 2 inputs"):
        model(x[0])
    with pytest.raises(PellucidError, match=r"dy has the shape \(8, 5\); the outputs have \(8, 4\)"):
        model.gradients(x, torch.ones(8, 5))
    with pytest.raises(PellucidError, match=r"a network with several inputs cannot be saved; keep its state_dict"):
        model.save(tmp_path / "two.safetensors")


def test_a_network_that_ends_with_softmax_opens() -> None:
    assert_opens(nn.Sequential(nn.Linear(6, 3), nn.Softmax(1)).double())


class Attending(nn.Module):
    """Tokens that attend to each other by a module of PyTorch, which `attend` calls."""

    def __init__(self, module: nn.Module, attend: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.module, self.attend = module, attend

    def forward(self, x: Tensor) -> Tensor:
        return self.attend(self.module, x)


TOKENS = torch.randn(5, 4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
PADDING = torch.tensor([False, False, True, False])
LATER = torch.ones(4, 4, dtype=torch.bool).triu(1)


def multihead(heads: int = 2, **options: Any) -> nn.Module:
    return nn.MultiheadAttention(6, heads, **{"dropout": 0.3, "batch_first": True, **options})


def with_weights(module: Any, x: Tensor, **options: Any) -> Tensor:
    """Return the outputs beside the attention weights."""
    y, weights = module(x, 2 * x, x, **options)
    return torch.cat([y.flatten(1), weights.flatten(1)], 1)


DROPPING: dict[str, tuple[Callable[[], nn.Module], Callable[[Any, Tensor], Tensor]]] = {
    "weights not needed": (multihead, lambda module, x: module(x, 2 * x, x, need_weights=False)[0]),
    "weights not used": (multihead, lambda module, x: module(x, 2 * x, x)[0]),
    "mean weights": (multihead, with_weights),
    "all weights": (multihead, lambda module, x: with_weights(module, x, average_attn_weights=False)),
    "causal": (multihead, lambda module, x: module(x, x, x, attn_mask=LATER, need_weights=False)[0]),
    "causal, with weights": (multihead, lambda module, x: with_weights(module, x, attn_mask=LATER)),
    "padding": (
        multihead, lambda module, x: module(x, x, x, key_padding_mask=PADDING.expand(len(x), 4), need_weights=False)[0],
    ),
    "keys of other sizes": (
        lambda: multihead(3, kdim=4, vdim=5), lambda module, x: module(x, x[:, :3, :4], x[:, :3, :5])[0],
    ),
    "tokens first": (
        lambda: multihead(batch_first=False),
        lambda module, x: module(*[x.transpose(0, 1)] * 3, need_weights=False)[0].transpose(0, 1),
    ),
    "called twice": (multihead, lambda module, x: module(*[module(x, x, x, need_weights=False)[0]] * 3)[0]),
    "encoder": (
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), 2),
        lambda module, x: module(x),
    ),
    "norm first": (
        lambda: nn.TransformerEncoderLayer(6, 3, 8, 0.4, F.gelu, batch_first=True, norm_first=True),
        lambda module, x: module(x, src_mask=LATER),
    ),
    "decoder": (
        lambda: nn.TransformerDecoderLayer(6, 2, 8, dropout=0.2, batch_first=True),
        lambda module, x: module(x, x[:, :3].flip(1)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DROPPING)
def test_gradients_through_dropout_of_attention_weights_equal_pytorchs(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """PyTorch's modules compute the expected gradients, with masks from a generator of the same seed."""
    make, attend = DROPPING[name]
    torch.manual_seed(0)
    network = Attending(make().double(), attend).train()
    model = pellucid.open(network, TOKENS[:2], loss="quadratic")
    assert "may compute something else" not in capsys.readouterr().err
    expected = network.eval()(TOKENS).detach()
    torch.testing.assert_close(model(TOKENS), expected, rtol=1e-10, atol=1e-10)
    dy = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    gradients = model.gradients(TOKENS, dy, train=True, seed=3)
    rng, attention = torch.Generator().manual_seed(3), F.scaled_dot_product_attention

    def drop(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        return x * (torch.rand(x.shape, generator=rng) >= p) / (1 - p) if training else x

    def attention_with_dropout(q: Tensor, k: Tensor, v: Tensor, mask: Any, p: float, causal: bool) -> Tensor:
        identity = torch.eye(k.shape[-2], dtype=v.dtype).expand(*v.shape[:-1], -1)
        return drop(attention(q, k, identity, mask, 0.0, causal), p) @ v

    monkeypatch.setattr(F, "dropout", drop)
    monkeypatch.setattr(F, "scaled_dot_product_attention", attention_with_dropout)
    assert_equal_gradients(gradients, autograd_gradients(network.train(), TOKENS, dy))


class OwnAttention(nn.MultiheadAttention):
    """A class that may use its dropout otherwise."""

    def forward(self, x: Tensor) -> Any:  # type: ignore[override]
        return super().forward(x, x, x, need_weights=False)[0]


def test_dropout_of_an_attention_of_your_own_is_noted(capsys: pytest.CaptureFixture[str]) -> None:
    model = pellucid.open(nn.Sequential(OwnAttention(6, 2, 0.1, batch_first=True), nn.Flatten()).double(), TOKENS)
    assert "0 (OwnAttention) may compute something else in training" in capsys.readouterr().err
    dy = torch.ones(5, 24, dtype=torch.float64)
    in_training = model.gradients(TOKENS, dy, train=True)["input"]
    assert torch.equal(in_training, model.gradients(TOKENS, dy)["input"])


class Masked(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        q, mask = x.view(-1, 2, 3), torch.tensor([[False, False], [True, False]])
        return F.scaled_dot_product_attention(q, q, q, mask)


def test_a_query_without_keys_opens() -> None:
    assert_opens(Masked())


@pytest.mark.parametrize(
    ("network", "x", "message"),
    [
        (nn.Linear(6, 3).half(), VECTORS[:2].half(), r"is float16; open network\.float\(\)"),
        (nn.Linear(6, 3).bfloat16(), VECTORS[:2].bfloat16(), "is bfloat16"),
        (nn.LazyLinear(3), VECTORS[:2], "weight has no shape before the network has run"),
    ],
)
def test_networks_that_cannot_be_used_are_refused(network: nn.Module, x: Tensor, message: str) -> None:
    with pytest.raises(PellucidError, match=message):
        pellucid.open(network, x)


def test_a_gradient_for_another_size_is_refused_in_one_line() -> None:
    model = pellucid.open(nn.Sequential(nn.Flatten(), nn.Linear(768, 3)).double(), images(2))
    with pytest.raises(PellucidError, match=r"the network takes \(3, 16, 16\)"):
        model.gradients(images(2)[:, :, :10], torch.ones(2, 3))


class Printing(nn.Module):
    """A module that prints and, if `branches`, branches on the values of its input."""

    def __init__(self, branches: bool) -> None:
        super().__init__()
        self.branches = branches

    def forward(self, x: Tensor) -> Tensor:
        print("said", file=sys.stderr)
        return x * 2 if not self.branches or x.mean() > 0 else x


@pytest.mark.parametrize("network", [nn.Sequential(nn.Flatten(), nn.Linear(5, 3)).double(), Printing(True)])
def test_a_refusal_prints_and_logs_nothing(network: nn.Module, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PellucidError):
        pellucid.open(network, images(2))
    assert capfd.readouterr().err == ""


def test_the_output_that_a_module_prints_while_it_is_opened_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    pellucid.open(Printing(False), images(2))
    assert set(capfd.readouterr().err.splitlines()) == {"said"}


class RelativePositions(nn.Module):
    """A table of positions, as in Swin."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.dense = nn.Parameter(torch.randn(5, 6)), nn.Linear(6, 3)
        self.register_buffer("index", torch.arange(6) % 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(x + self.table[self.index].mean(0))


def test_the_doctor_accepts_nodes_with_integer_values() -> None:
    model = pellucid.open(RelativePositions().double(), VECTORS[:2])
    model.doctor(VECTORS.float(), LABELS)
