"""Layers that draw in evaluation."""

import pytest
import torch

from benchmarks.doctor.faults.drawing import AlwaysDropout, AlwaysNoise
from pellucid.combine import Parallel, Sequential
from pellucid.doctor.checks.dropout_at_inference import CHECK
from pellucid.layers import Add, Dense, Dropout, Flatten, Identity, ReLU
from pellucid.layers.base import Layer
from tests.doctor.examined import case, conv_net


@pytest.mark.parametrize("layer", [AlwaysDropout(0.5), AlwaysNoise(0.1)])
def test_the_layer_that_draws_is_named(layer: Layer) -> None:
    body = Sequential(dense=Dense(16), odd=layer, relu=ReLU())
    net = Sequential(flatten=Flatten(), block=Parallel((Identity(), body), Add()), odd=layer, scores=Dense(4))
    it = case(net)
    (found,) = CHECK.look(it)
    assert found.check == "dropout-at-inference"
    assert found.path.endswith(".odd")  # the first of the two, inside the block
    assert found.evidence["layer"] == type(layer).__name__
    assert found.evidence["difference_of_two_answers"] > 0


def test_the_difference_is_that_of_the_draws() -> None:
    net = Sequential(flatten=Flatten(), noise=AlwaysNoise(0.1), scores=Dense(4))
    (found,) = CHECK.look(case(net))
    x = case(net).sample.x[:32].flatten(1)
    expected = 0.1 * float(x.std()) * 2**0.5 / float(x.square().mean().sqrt())
    assert found.evidence["difference_of_two_calls_of_the_layer"] == pytest.approx(expected, rel=0.2)


def test_the_global_random_state_is_unchanged() -> None:
    it = case(Sequential(flatten=Flatten(), odd=AlwaysDropout(), scores=Dense(4)))
    before = torch.get_rng_state()
    assert CHECK.look(it)
    assert torch.equal(before, torch.get_rng_state())


def test_dropout_of_the_library_and_normalization_give_no_finding() -> None:
    assert not CHECK.look(case(conv_net(), epochs=2))
    assert not CHECK.look(case(Sequential(flatten=Flatten(), dropout=Dropout(0.9), scores=Dense(4))))
