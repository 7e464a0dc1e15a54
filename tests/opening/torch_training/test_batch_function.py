"""How often the function of a batch is called, and trainings in which it draws random numbers."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from pellucid.opening.torch_training import TorchTraining
from tests.opening.torch_training.loops import Parts, assert_equal

IMAGES = torch.rand(20, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
EPOCHS = 3


def made() -> Parts:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Tanh(), nn.Conv2d(2, 1, 3, padding=1)).double()
    return Parts(network, nn.MSELoss(), torch.optim.Adam(network.parameters(), lr=0.01))


def noise(generator: torch.Generator | None) -> Callable[[Any], tuple[Tensor, Tensor]]:
    def noisy(item: Any) -> tuple[Tensor, Tensor]:
        (x,) = item
        return x + 0.1 * torch.randn(x.shape, generator=generator, dtype=x.dtype), x

    return noisy


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("own", [True, False])
def test_noise_in_the_function_of_a_batch_is_that_of_the_loop(shuffle: bool, own: bool) -> None:
    ours, theirs = made(), made()
    loaders = [
        DataLoader(TensorDataset(IMAGES), 4, shuffle=shuffle, generator=torch.Generator().manual_seed(5))
        for _ in range(2)
    ]
    generators = [torch.Generator().manual_seed(2) if own else None for _ in range(2)]
    state = torch.get_rng_state()
    training: TorchTraining = ours.taken(loaders[0], batch=noise(generators[0]))
    if generators[0] is not None:
        generators[0].manual_seed(2)  # from_torch has called the function once
    for epochs in (1, EPOCHS - 1):
        training.fit(epochs, verbose=False)
    torch.set_rng_state(state)
    convert = noise(generators[1])
    for _ in range(EPOCHS):
        for item in loaders[1]:
            x, y = convert(item)
            theirs.optimizer.zero_grad()
            theirs.criterion(theirs.network(x), y).backward()
            theirs.optimizer.step()
    assert_equal(ours, theirs)


def test_the_function_of_a_batch_is_called_once_before_the_steps() -> None:
    calls: list[int] = []

    def convert(item: Any) -> tuple[Tensor, Tensor]:
        calls.append(len(item[0]))
        return item[0], item[0]

    training = made().taken(DataLoader(TensorDataset(IMAGES), 4), batch=convert)
    assert len(calls) == 1
    training.fit(EPOCHS, verbose=False)
    training.fit(1, verbose=False)
    assert len(calls) == 1 + 5 * (EPOCHS + 1)
