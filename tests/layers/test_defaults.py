"""Defaults of layers, losses and optimizers equal those of PyTorch, or are conventions of the field."""

from typing import Any

import pytest
from torch import nn, optim

from pellucid import layers, losses
from pellucid.layers import Layer
from pellucid.optim import Adagrad, Adam, AdamW, RMSprop


@pytest.mark.parametrize(
    ("layer_or_loss", "torch_module", "torch_names"),
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
def test_default_hyperparameters_of_layers_and_losses_equal_pytorchs(
    layer_or_loss: Any, torch_module: nn.Module, torch_names: dict[str, str]
) -> None:
    assert {name: getattr(layer_or_loss, name) for name in torch_names} == {
        name: getattr(torch_module, torch_name) for name, torch_name in torch_names.items()
    }


def test_default_hyperparameters_of_optimizers_equal_pytorchs() -> None:
    weights = [nn.Parameter()]
    for optimizer, torch_optimizer in ((Adam(), optim.Adam(weights)), (AdamW(), optim.AdamW(weights))):
        defaults = torch_optimizer.defaults
        assert (optimizer.lr, (optimizer.beta1, optimizer.beta2), optimizer.epsilon) == (
            defaults["lr"],
            defaults["betas"],
            defaults["eps"],
        )
    assert AdamW().weight_decay == optim.AdamW(weights).defaults["weight_decay"]
    rmsprop, adagrad = optim.RMSprop(weights).defaults, optim.Adagrad(weights).defaults
    assert (RMSprop().epsilon, Adagrad().epsilon) == (rmsprop["eps"], adagrad["eps"])
