"""Suspects of trainings with pretrained weights: the scale of their inputs, and the learning rate."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.combine import Sequential
from pellucid.data import float_images
from pellucid.doctor import case_of
from pellucid.doctor.checks import unnormalised_inputs
from pellucid.doctor.suspects.pretrained import pretrained_suspects
from pellucid.layers import BatchNorm, Conv2d, Dense, Dropout, Flatten, ReLU
from pellucid.model import Model
from pellucid.optim import Adam
from tests.doctor.test_failing_trainings import split_digits
from tests.doctor.test_own_suspects import net_with_layers

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
SCALES: dict[str, Any] = {
    "unit": lambda x: x,
    "bytes": lambda x: 255 * x,
    "bytes less the mean": lambda x: 255 * (x - MEAN),
    "standardised": lambda x: (x - MEAN) / STD,
    "standardised twice": lambda x: ((x - MEAN) / STD - MEAN) / STD,
    "standardised bytes": lambda x: (255 * x - MEAN) / STD,
}
# (what the network was trained with, what it is given, what would have to be done)
OTHER_SCALES = [
    ("bytes less the mean", "unit", "multiplied by 255, less the mean of ImageNet"),
    ("bytes", "unit", "multiplied by 255"),
    ("unit", "bytes", "divided by 255"),
    ("standardised", "bytes", "divided by 255 and standardised as in ImageNet"),
    ("standardised", "unit", "standardised as in ImageNet"),
    ("bytes", "standardised", "given as bytes, without the mean and deviation of ImageNet"),
    ("standardised", "standardised twice", "given from 0 to 1, without the mean and deviation of ImageNet"),
]


def pictures(seed: int, n: int = 96) -> tuple[Tensor, Tensor]:
    """Return pictures (n, 3, 12, 12) from 0 to 1 of coloured bars, and whether they stand."""
    rng = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    x = 0.5 * torch.rand(n, 3, 1, 1, generator=rng) + 0.1 * torch.rand(n, 3, 12, 12, generator=rng)
    for index, label in enumerate(y.tolist()):
        start = int(torch.randint(0, 9, (), generator=rng))
        bar = (slice(start, start + 3), slice(None)) if label else (slice(None), slice(start, start + 3))
        x[(index, slice(None), *bar)] += 0.4 * torch.rand(3, 1, 1, generator=rng)
    return x, y


def network(seed: int, bias: bool) -> nn.Sequential:
    torch.manual_seed(seed)
    first = [nn.Conv2d(3, 12, 3, bias=bias), nn.BatchNorm2d(12), nn.ReLU()]
    return nn.Sequential(*first, nn.Conv2d(12, 12, 3), nn.BatchNorm2d(12), nn.ReLU(), nn.Flatten(), nn.Linear(768, 2))


def pretrained_network(scale: str, seed: int, bias: bool) -> nn.Sequential:
    """Return a network whose running statistics are those of other pictures, scaled as named."""
    net = network(seed, bias)
    for shift in range(120):
        net(SCALES[scale](pictures(100 + shift, 32)[0]))
    return net


def suspects_of(net: nn.Sequential, x: Tensor, y: Tensor, is_frozen: bool) -> list[Any]:
    model = pellucid.open(net, x[:2])
    if is_frozen:
        model.freeze("0.*", "1.*")
    return list(pretrained_suspects(case_of(model, x, y, begin=lambda: model)))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("is_frozen", [False, True])
@pytest.mark.parametrize(("trained_with", "given", "change"), OTHER_SCALES)
def test_inputs_of_another_scale_than_the_pretrained_ones(
    trained_with: str, given: str, change: str, is_frozen: bool, seed: int
) -> None:
    x, y = pictures(seed)
    net = pretrained_network(trained_with, seed, bias=bool(seed % 2))
    suspect = suspects_of(net, SCALES[given](x), y, is_frozen)[0]
    assert suspect.remedy.description == f"inputs {change}"
    changed = suspect.remedy.apply(case_of(pellucid.open(net, x[:2]), SCALES[given](x), y)).train.x
    torch.testing.assert_close(changed, SCALES[trained_with](x), rtol=0.02, atol=0.02)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scale", SCALES)
def test_inputs_of_the_same_scale_are_no_suspect(scale: str, seed: int) -> None:
    x, y = pictures(seed)
    dark = SCALES[scale](0.7 * x + 0.05)  # other pictures are seldom as bright
    for given in (SCALES[scale](x), dark):
        found = suspects_of(pretrained_network(scale, seed, bias=True), given, y, is_frozen=True)
        assert not [one for one in found if one.finding.check == "pretrained-inputs"]


@pytest.mark.parametrize("scale", SCALES)
def test_the_scale_of_a_pretrained_network_is_not_called_unusual(scale: str) -> None:
    x, y = pictures(0)
    x = SCALES[scale](x)
    new, pretrained = (pellucid.open(make, x[:2]) for make in (network(0, True), pretrained_network(scale, 0, True)))
    is_unusual = scale not in ("unit", "standardised")
    assert bool(unnormalised_inputs.find(case_of(new, x, y, begin=lambda: new))) == is_unusual
    assert not unnormalised_inputs.find(case_of(pretrained, x, y, begin=lambda: pretrained))


def test_inputs_of_new_weights_are_no_suspect() -> None:
    x, y = pictures(0)
    assert suspects_of(network(0, bias=True), 255 * x, y, is_frozen=False) == []


def test_the_rate_of_pretrained_weights_is_a_suspect() -> None:
    x, y, held_out = split_digits()
    pretrained = Model(net_with_layers(Dropout(0.0)), optimizer=Adam(0.01), input_shape=(1, 8, 8))
    pretrained.fit(x, y, epochs=4, verbose=False)

    def begin() -> Model:
        model = Model(net_with_layers(Dropout(0.0)), optimizer=Adam(0.01), input_shape=(1, 8, 8))
        model.weights["dense1.weight"].copy_(pretrained.weights["dense1.weight"])
        return model

    large_x = 255 * float_images(x)
    case = case_of(begin(), large_x, y, validation=held_out, begin=begin)
    names = [suspect.remedy.description for suspect in pretrained_suspects(case)]
    assert names == ["a tenth of the learning rate of training"]


@pytest.mark.parametrize("is_frozen", [False, True])
def test_statistics_of_an_earlier_training_show_pretrained_weights(is_frozen: bool) -> None:
    x, y, _ = split_digits()
    net = Sequential(Conv2d(8, 3), BatchNorm(), ReLU(), Flatten(), Dense(10))
    model = Model(net, input_shape=(1, 8, 8))
    assert not list(pretrained_suspects(case_of(model, x, y, begin=lambda: model)))
    model.weights["batchnorm1.running_mean"].fill_(0.1)
    if is_frozen:
        model.freeze("batchnorm1.*")
    assert len(list(pretrained_suspects(case_of(model, x, y, begin=lambda: model)))) == (not is_frozen)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "draw",
    [nn.Linear.reset_parameters, nn.init.kaiming_normal_, nn.init.xavier_uniform_, nn.init.orthogonal_,
     nn.init.trunc_normal_],
)  # fmt: skip
def test_weights_that_pytorch_has_just_drawn_are_not_pretrained(draw: Any, seed: int) -> None:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 32), nn.Linear(32, 10))
    for layer in (network[3], network[4]):
        draw(layer if draw is nn.Linear.reset_parameters else layer.weight)
    x, y, _ = split_digits()
    model = pellucid.open(network, float_images(x)[:1])
    assert not list(pretrained_suspects(case_of(model, float_images(x), y, begin=lambda: model)))
