"""What a layer, loss or optimizer does unasked is what PyTorch's does, or what the field has agreed on."""

from typing import Any

import pytest
from torch import nn, optim

from pellucid import layers, losses
from pellucid.layers import Layer
from pellucid.optim import Adagrad, Adam, AdamW, RMSprop


@pytest.mark.parametrize(
    ("ours", "theirs", "names"),
    [
        (layers.LeakyReLU(), nn.LeakyReLU(), {"slope": "negative_slope"}),
        (layers.ELU(), nn.ELU(), {"alpha": "alpha"}),
        (layers.Dropout(), nn.Dropout(), {"rate": "p"}),
        (layers.LocalResponseNorm(5), nn.LocalResponseNorm(5), {"alpha": "alpha", "beta": "beta", "k": "k"}),
        (layers.BatchNorm(), nn.BatchNorm2d(2), {"momentum": "momentum", "epsilon": "eps"}),
        (layers.GroupNorm(1), nn.GroupNorm(1, 2), {"epsilon": "eps"}),
        (layers.LayerNorm(), nn.LayerNorm(2), {"epsilon": "eps"}),
        (layers.InstanceNorm2d(), nn.InstanceNorm2d(2), {"epsilon": "eps", "affine": "affine"}),
        (
            layers.MaxPool2d(2),
            nn.MaxPool2d(2),
            {"padding": "padding", "dilation": "dilation", "ceil_mode": "ceil_mode"},
        ),
        (
            layers.AvgPool2d(2),
            nn.AvgPool2d(2),
            {"padding": "padding", "ceil_mode": "ceil_mode", "count_include_pad": "count_include_pad"},
        ),
        (losses.Hinge(), nn.MultiMarginLoss(), {"margin": "margin", "power": "p"}),
        (losses.Huber(), nn.HuberLoss(), {"delta": "delta"}),
        (losses.SoftmaxCrossEntropy(), nn.CrossEntropyLoss(), {"label_smoothing": "label_smoothing"}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Layer | losses.Loss) else "",
)
def test_of_layers_and_losses(ours: Any, theirs: nn.Module, names: dict[str, str]) -> None:
    assert {name: getattr(ours, name) for name in names} == {name: getattr(theirs, own) for name, own in names.items()}


def test_of_optimizers() -> None:
    weights = [nn.Parameter()]
    for ours, theirs in ((Adam(), optim.Adam(weights)), (AdamW(), optim.AdamW(weights))):
        told = theirs.defaults
        assert (ours.lr, (ours.beta1, ours.beta2), ours.epsilon) == (told["lr"], told["betas"], told["eps"])
    assert AdamW().weight_decay == optim.AdamW(weights).defaults["weight_decay"]
    rmsprop, adagrad = optim.RMSprop(weights).defaults, optim.Adagrad(weights).defaults
    assert (RMSprop().epsilon, Adagrad().epsilon) == (rmsprop["eps"], adagrad["eps"])
