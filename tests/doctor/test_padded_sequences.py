"""Sequences that end with padding, after which a recurrent layer's last state is taken."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import pellucid
from pellucid.data.source import Arrays
from pellucid.doctor import Case
from pellucid.doctor.suspects.layers import padding_suspects

N, T, D = 40, 12, 3


class Reader(nn.Module):
    """A recurrent layer that reads tokens (N, T) or values (N, T, D), and a linear layer for its state."""

    def __init__(self, kind: Any, state: Callable[[Any, Tensor], Tensor], n_tokens: int = 0, **options: Any) -> None:
        super().__init__()
        self.state = state
        self.embedding = nn.Embedding(n_tokens, D) if n_tokens else nn.Identity()
        self.inner = kind(D, 8, **{"batch_first": True, **options})
        self.head = nn.Linear(16 if options.get("bidirectional") else 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.state(self, x))


def last(net: Any, x: Tensor) -> Tensor:
    return net.inner(net.embedding(x))[0][:, -1]


def last_place(net: Any, x: Tensor) -> Tensor:
    return net.inner(net.embedding(x))[0][:, T - 1]


def last_of_time_first(net: Any, x: Tensor) -> Tensor:
    return net.inner(net.embedding(x).transpose(0, 1))[0][-1]


def hidden(net: Any, x: Tensor) -> Tensor:
    states = net.inner(net.embedding(x))[1]
    return states[0][-1] if isinstance(states, tuple) else states[-1]


def at_lengths(net: Any, x: Tensor) -> Tensor:
    return net.inner(net.embedding(x))[0][torch.arange(len(x)), (x > 0).sum(1) - 1]


def mean(net: Any, x: Tensor) -> Tensor:
    return net.inner(net.embedding(x))[0].mean(1)


def first(net: Any, x: Tensor) -> Tensor:
    return net.inner(net.embedding(x).flip(1))[0][:, 0]


def lengths(longest: int, n: int = N) -> Tensor:
    return 1 + torch.arange(n) % longest


def padded(length: Tensor, n_tokens: int, padding: float, is_first: bool = False) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (len(length), T) if n_tokens else (len(length), T, D)
    x = (
        torch.randint(1, n_tokens - 1, shape, generator=generator).float()
        if n_tokens
        else torch.randn(shape, generator=generator)
    )
    is_padding = torch.arange(T) >= length[:, None]
    x[is_padding] = padding
    return x.flip(1) if is_first else x


def found(network: nn.Module, x: Tensor) -> tuple[Case, list[Any]]:
    model = pellucid.open(network, x[:3].long() if x.dim() == 2 else x[:3])
    case = Case(model, Arrays(x, torch.arange(len(x)) % 3), None, lambda: model)
    return case, [*padding_suspects(case)]


@pytest.mark.parametrize(("n_tokens", "padding"), [(9, 0), (9, 8), (0, 0.0), (0, -1.0)])
@pytest.mark.parametrize(("state", "options"), [
    (last, {}), (last, {"num_layers": 2}), (last, {"bidirectional": True}), (last_place, {}), (hidden, {}),
    (last_of_time_first, {"batch_first": False}),
])  # fmt: skip
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_last_state_after_padding_is_suspected(
    kind: Any, state: Any, options: dict[str, Any], n_tokens: int, padding: float
) -> None:
    length = lengths(7)
    x = padded(length, n_tokens, padding)
    case, (suspected,) = found(Reader(kind, state, n_tokens, **options), x)
    changed = suspected.apply(case).train.x
    for one, (before, after) in enumerate(zip(x, changed, strict=True)):
        n_padded = T - int(length[one])
        assert bool((after[:n_padded] == padding).all())
        assert torch.equal(after.roll(-n_padded, 0), before)


HEALTHY: dict[str, tuple[Any, int, dict[str, Any]]] = {
    "state at the lengths": (at_lengths, 7, {}),
    "mean of all steps": (mean, 7, {}),
    "read from the end": (first, 7, {}),
    "little padding": (last, T, {"shortest": 8}),
    "padding first": (last, 7, {"is_first": True}),
}


@pytest.mark.parametrize("name", HEALTHY)
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_other_states_and_data_are_not_suspected(kind: Any, name: str) -> None:
    state, longest, options = HEALTHY[name]
    length = lengths(longest).clamp_min(options.get("shortest", 1))
    x = padded(length, 9, 0, options.get("is_first", False))
    assert found(Reader(kind, state, 9), x)[1] == []


def test_inputs_that_are_no_sequences_are_not_suspected() -> None:
    x = torch.zeros(N, T)
    assert found(nn.Sequential(nn.Linear(T, 8), nn.ReLU(), nn.Linear(8, 3)), x[:, None].expand(-1, D, -1))[1] == []


@pytest.mark.slow
@pytest.mark.parametrize("is_wrong", [True, False])
def test_the_state_before_the_padding_is_proven_as_the_cause(is_wrong: bool) -> None:
    """Of sequences of 5 to 10 tokens of 60, the class is whether a 1 or a 2 is the more frequent one."""
    torch.manual_seed(1)
    length = torch.randint(5, 11, (800,))
    y = torch.arange(800) % 2
    x = 1 + (torch.rand(800, 60) < 0.2 + 0.6 * y[:, None]).long()
    x[torch.arange(60) >= length[:, None]] = 0
    network = Reader(nn.LSTM, last if is_wrong else at_lengths, 3)
    training = pellucid.from_torch(
        network, loss=nn.CrossEntropyLoss(), optimizer=torch.optim.Adam(network.parameters(), 5e-3),
        train=DataLoader(TensorDataset(x[:600], y[:600]), 30, shuffle=True),
        validation=DataLoader(TensorDataset(x[600:], y[600:]), 100),
    )  # fmt: skip
    training.fit(6, verbose=False)
    diagnosis = training.doctor()
    proven = [one.check for one in diagnosis.findings if one.proven]
    assert proven == ["state-after-padding"] * is_wrong
