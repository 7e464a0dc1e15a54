"""Layers that draw random numbers in evaluation mode."""

import pytest
import torch
from torch import nn

import pellucid
from benchmarks.doctor.faults.drawing import AlwaysDropout, AlwaysNoise
from pellucid.combine import Parallel, Sequential
from pellucid.doctor import case_of
from pellucid.doctor.checks.dropout_at_inference import CHECK
from pellucid.layers import Add, Dense, Dropout, Flatten, Identity, ReLU
from pellucid.layers.base import Layer
from tests.doctor.small_cases import conv_net, corners, make_case


@pytest.mark.parametrize("layer", [AlwaysDropout(0.5), AlwaysNoise(0.1)])
def test_the_layer_that_draws_is_named(layer: Layer) -> None:
    body = Sequential(dense=Dense(16), odd=layer, relu=ReLU())
    net = Sequential(flatten=Flatten(), block=Parallel((Identity(), body), Add()), odd=layer, scores=Dense(4))
    case = make_case(net)
    (finding,) = CHECK.find(case)
    assert finding.check == "dropout-at-inference"
    assert finding.path.endswith(".odd")  # the first of the two, inside the block
    assert finding.evidence["layer"] == type(layer).__name__
    assert finding.evidence["difference_of_two_answers"] > 0


def test_the_difference_is_that_of_two_noise_draws() -> None:
    net = Sequential(flatten=Flatten(), noise=AlwaysNoise(0.1), scores=Dense(4))
    (finding,) = CHECK.find(make_case(net))
    x = make_case(net).sample.x[:32].flatten(1)
    expected = 0.1 * float(x.std()) * 2**0.5 / float(x.square().mean().sqrt())
    assert finding.evidence["difference_of_two_calls_of_the_layer"] == pytest.approx(expected, rel=0.2)


def test_the_global_random_state_is_unchanged() -> None:
    case = make_case(Sequential(flatten=Flatten(), odd=AlwaysDropout(), scores=Dense(4)))
    rng_state = torch.get_rng_state()
    assert CHECK.find(case)
    assert torch.equal(rng_state, torch.get_rng_state())


def test_dropout_of_the_library_and_normalization_give_no_finding() -> None:
    assert not CHECK.find(make_case(conv_net(), epochs=2))
    assert not CHECK.find(make_case(Sequential(flatten=Flatten(), dropout=Dropout(0.9), scores=Dense(4))))


class Masked(nn.Module):
    """A linear layer of the values that a condition on them keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.flatten(1)
        return self.scores(x.masked_fill(x < 0.5, 0.0))


def test_masks_are_no_draws() -> None:
    x, y = corners()
    assert not CHECK.find(case_of(pellucid.open(Masked(), x), x, y))
