"""Inputs of whole numbers: tokens, rows of tables, and classes that the network encodes itself."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from pellucid.base.errors import PellucidError
from tests.opening.torch_training.loops import Parts, check_equal

VOCABULARY = 11
LENGTH = 5


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class LanguageModel(nn.Module):
    """The next token after each of a text, by attention to those before."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, 8)
        self.places = nn.Parameter(torch.zeros(1, LENGTH, 8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.register_buffer("mask", torch.triu(torch.ones(LENGTH, LENGTH, dtype=torch.bool), diagonal=1))
        self.head = nn.Linear(8, VOCABULARY)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.places[:, : tokens.size(1)]
        return self.head(x + self.attention(x, x, x, attn_mask=self.mask, need_weights=False)[0])


class Tagger(nn.Module):
    """An LSTM over tokens, of which 0 is padding."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, 6, padding_idx=0)
        self.lstm = nn.LSTM(6, 4, batch_first=True, bidirectional=True)
        self.head = nn.Linear(8, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.lstm(self.tokens(tokens))[0].max(dim=1)[0])


class Encoded(nn.Module):
    """A network that converts whole numbers itself."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(LENGTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.to(self.head.weight.dtype) / VOCABULARY)


class MeanOfTokens(nn.Module):
    """The mean of embeddings, with a pair of tables."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList([nn.Embedding(VOCABULARY, 4) for _ in range(2)])
        self.head = nn.Linear(4, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        first, second = self.tables
        return self.head((first(tokens) * second(tokens)).mean(1))


def next_tokens(logits: Tensor, tokens: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits.view(-1, VOCABULARY), tokens.view(-1))


def batches(dtype: torch.dtype, targets: Tensor) -> DataLoader[Any]:
    tokens = torch.randint(0, VOCABULARY, (24, LENGTH), generator=rng(1)).to(dtype)
    return DataLoader(TensorDataset(tokens, targets), 6, shuffle=True, generator=rng(2))


CASES: dict[str, tuple[Callable[[], nn.Module], Any, Callable[[], Tensor]]] = {
    "language model": (
        LanguageModel, next_tokens, lambda: torch.randint(0, VOCABULARY, (24, LENGTH), generator=rng(3)),
    ),
    "tags": (
        Tagger,
        nn.BCEWithLogitsLoss(pos_weight=torch.tensor([1.0, 3.0, 0.5], dtype=torch.float64)),
        lambda: torch.rand(24, 3, generator=rng(4)).lt(0.3).to(torch.float64),
    ),
    "encoded": (Encoded, nn.CrossEntropyLoss(), lambda: torch.randint(0, 3, (24,), generator=rng(5))),
    "mean": (MeanOfTokens, nn.CrossEntropyLoss(), lambda: torch.randint(0, 3, (24,), generator=rng(6))),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
@pytest.mark.parametrize("name", CASES)
def test_20_steps_on_indices_equal_pytorch(name: str, dtype: torch.dtype) -> None:
    make, criterion, targets = CASES[name]

    def made() -> Parts:
        network = make().double()
        # the gradient of an attention's key bias is 0 but for rounding, which Adagrad would divide by its size
        optimizer = torch.optim.SGD if name == "language model" else torch.optim.Adagrad
        return Parts(network, criterion, optimizer(network.parameters(), lr=0.05), clip_norm=1.0)

    training = check_equal(made, lambda: (batches(dtype, targets()), batches(dtype, targets())), 5)
    with pytest.raises(PellucidError, match="verify: the inputs are indices"):
        training.verify(2)
    assert training.trace().loss > 0
    if name in ("tags", "mean"):
        assert "unnormalised-inputs" not in training.doctor(epochs=2).names
    tokens = next(iter(batches(dtype, targets())))[0]
    expected = training._objects.network.eval()(tokens).detach()
    torch.testing.assert_close(training.model(tokens), expected)


def test_images_of_whole_numbers_are_refused_with_the_conversion() -> None:
    for dtype in (torch.uint8, torch.int64):
        network = nn.Sequential(nn.Flatten(), nn.Linear(LENGTH, 3))
        made = Parts(network, nn.CrossEntropyLoss(), torch.optim.SGD(network.parameters(), lr=0.1))
        with pytest.raises(PellucidError, match=r"does not take as they are; give the conversion of your loop: batch="):
            made.taken(batches(dtype, torch.zeros(24, dtype=torch.int64)))


def test_indices_that_float32_does_not_contain_are_refused() -> None:
    class Large(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(LENGTH, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head((x % 7).float())

    network = Large()
    made = Parts(network, nn.CrossEntropyLoss(), torch.optim.SGD(network.parameters(), lr=0.1))
    items = [(torch.full((4, LENGTH), index), torch.zeros(4, dtype=torch.int64)) for index in (2, 2**24 + 1)]
    training = made.taken(items)
    with pytest.raises(PellucidError, match=r"inputs up to 16777217 are not exact in torch\.float32"):
        training.fit(1, verbose=False)
