"""Trainings on tokens: the network is at fault if it hides what a plain one learns; sound ones have no cause."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import pellucid

VOCABULARY, LENGTH, N_TRAIN, COUNT = 20, 8, 1000, 1200


class Reader(nn.Module):
    """An LSTM whose state after one of the steps is classified, with tokens up to `highest`."""

    def __init__(self, step: int = -1, highest: int = VOCABULARY - 1) -> None:
        super().__init__()
        self.step, self.highest = step, highest
        self.tokens = nn.Embedding(VOCABULARY, 12)
        self.lstm = nn.LSTM(12, 24, batch_first=True)
        self.head = nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(self.tokens(x.clamp(max=self.highest)))[0][:, self.step])


def diagnosis_of(network: nn.Module) -> Any:
    x = torch.randint(1, VOCABULARY, (COUNT, LENGTH), generator=torch.Generator().manual_seed(0))
    y = 2 * (x[:, -3] % 2) + (x[:, -1] > VOCABULARY // 2)
    training = pellucid.from_torch(
        network,
        loss=nn.CrossEntropyLoss(),
        optimizer=torch.optim.Adam(network.parameters(), lr=0.01),
        train=DataLoader(TensorDataset(x[:N_TRAIN], y[:N_TRAIN]), batch_size=16, shuffle=True),
        validation=DataLoader(TensorDataset(x[N_TRAIN:], y[N_TRAIN:]), batch_size=64),
    )
    training.fit(8, verbose=False)
    return training.doctor()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "kinds"), [({}, []), ({"highest": 4}, ["part"]), ({"step": 0}, ["part"])], ids=["sound", "cut", "first"]
)
def test_a_network_that_hides_tokens_is_at_fault(options: dict[str, Any], kinds: list[str]) -> None:
    torch.manual_seed(0)
    diagnosis = diagnosis_of(Reader(**options))
    found = [diagnosis.kind(k) for k in range(len(diagnosis.findings))]
    assert [kind for kind in found if kind not in ("symptom", "consequence")] == kinds
