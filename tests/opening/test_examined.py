"""`Model.doctor` and `Model.predictor` on opened networks."""

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from pellucid.model import Model
from tests.opening.networks import ConvNeXt, MobileNetV3, ResNet, ViT
from tests.opening.test_opened import build_network


def digits(first: int, end: int) -> tuple[Tensor, Tensor]:
    """Return images of the digits 0 to 4 with three equal channels (N, 3, 16, 16), and their labels (N,)."""
    pictures, labels = load_digits(n_class=5, return_X_y=True)
    x = torch.tensor(pictures[first:end], dtype=torch.float32).view(-1, 1, 8, 8).expand(-1, 3, -1, -1) / 16
    return F.interpolate(x, (16, 16)), torch.tensor(labels[first:end])


def float32_network(kind: type[nn.Module]) -> nn.Module:
    return build_network(kind).float()


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.parametrize("kind", [ResNet, ViT])
def test_doctor_finds_no_cause_in_an_opened_network_that_learns(kind: type[nn.Module]) -> None:
    x, labels = digits(0, 600)
    model = pellucid.open(float32_network(kind), x[:2], optimizer=pellucid.Adam(0.01), classes=5)
    history = model.fit(x, labels, validation=digits(600, 900), epochs=8, verbose=False)
    diagnosis = model.doctor(x, labels, validation=digits(600, 900), history=history)
    assert not diagnosis.causes, diagnosis


@pytest.mark.slow
@pytest.mark.parametrize("kind", [ResNet, ViT, ConvNeXt, MobileNetV3])
def test_predictors_of_opened_networks_output_what_the_networks_do(kind: type[nn.Module]) -> None:
    x, _ = digits(0, 6)
    network = float32_network(kind).eval()
    model: Model = pellucid.open(network, x[:2])
    probabilities = model.predictor()(x)
    torch.testing.assert_close(probabilities, network(x).detach().softmax(1), rtol=1e-4, atol=1e-5)
