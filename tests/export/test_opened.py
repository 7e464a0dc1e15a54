"""Opened networks exported to files: ONNX files can be opened, and PyTorch files have the original state_dict."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import pellucid
from pellucid.export import to_onnx, to_torch
from pellucid.operators import Attention
from tests.opening.networks import ViT
from tests.opening.test_opened import build_network, images


def opened() -> pellucid.Model:
    return pellucid.open(build_network(ViT).float().eval(), images(2).float())


def test_an_exported_vit_opens_with_the_same_layers(tmp_path: Path) -> None:
    model = opened()
    to_onnx(model, tmp_path / "net.onnx")
    reopened = pellucid.open(tmp_path / "net.onnx")
    x = images(5, seed=1).float()
    torch.testing.assert_close(reopened(x), model(x), rtol=1e-5, atol=1e-6)
    attentions = [[type(layer) for layer in one.net.layers.values()].count(Attention) for one in (model, reopened)]
    assert attentions == [2, 2]
    assert reopened.weights.keys() == model.weights.keys()


@pytest.mark.slow
def test_the_weights_of_a_pytorch_file_have_the_keys_of_the_opened_network(tmp_path: Path) -> None:
    model = opened()
    to_torch(model, tmp_path / "net.py")
    assert load_file(tmp_path / "net_weights.safetensors").keys() == model.weights.keys()
