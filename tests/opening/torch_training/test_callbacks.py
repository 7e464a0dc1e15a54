"""What a loop does beside its steps, in a callback: a moving average of the weights equals the loop's."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import swa_utils

from pellucid import Callback
from tests.opening.torch_training.test_given_back import loader, parts

DECAY = 0.9


def average(averaged: nn.Module, state: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, tensor in averaged.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(DECAY * tensor + (1 - DECAY) * state[name])


class Average(Callback):
    def __init__(self, averaged: nn.Module) -> None:
        self.averaged = averaged

    def on_step(self, training: Any) -> None:
        average(self.averaged, training.model.state_dict())


class AverageOfPyTorch(Callback):
    """An average by torch.optim.swa_utils, of a network that is given the weights."""

    def __init__(self, averaged: swa_utils.AveragedModel, network: nn.Module) -> None:
        self.averaged = averaged
        self.network = copy.deepcopy(network)

    def on_step(self, training: Any) -> None:
        self.network.load_state_dict(training.model.state_dict())
        self.averaged.update_parameters(self.network)


def by_hand(network: nn.Module) -> tuple[nn.Module, Callback, Callable[[], None]]:
    averaged = copy.deepcopy(network)
    return averaged, Average(averaged), lambda: average(averaged, network.state_dict())


def by_pytorch(network: nn.Module) -> tuple[nn.Module, Callback, Callable[[], None]]:
    averaged = swa_utils.AveragedModel(network, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(DECAY))
    return averaged, AverageOfPyTorch(averaged, network), lambda: averaged.update_parameters(network)


@pytest.mark.parametrize("make", [by_hand, by_pytorch])
def test_an_average_of_the_weights_in_a_callback_is_that_of_the_loop(make: Any) -> None:
    ours, theirs = parts(), parts()
    ours.scheduler = theirs.scheduler = None
    averaged, callback, _ = make(ours.network)
    expected, _, update = make(theirs.network)
    training = ours.taken(loader())
    for epochs in (2, 1):
        training.fit(epochs, callbacks=[callback], verbose=False)
    theirs.network.train()
    for _ in range(3):
        for x, y in loader():
            theirs.optimizer.zero_grad()
            theirs.criterion(theirs.network(x), y).backward()
            theirs.optimizer.step()
            update()
    for name, parameter in averaged.named_parameters():
        torch.testing.assert_close(parameter, expected.get_parameter(name), rtol=1e-9, atol=1e-12)
