"""Opened networks exported to files: ONNX files can be opened, and PyTorch files have the original state_dict."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

import pellucid
from pellucid.combine.base import map_layers
from pellucid.export import to_onnx, to_torch
from pellucid.export.torch_file import source
from pellucid.layers import Layer
from pellucid.operators import Attention
from tests.export.test_torch_file import module_of
from tests.opening.networks import ViT
from tests.opening.test_opened import build_network, images


def opened(rate: float = 0.0) -> pellucid.Model:
    """Return a network with attention; rate: of the dropout of attention weights."""
    network = build_network(ViT).float()
    for part in network.modules():
        if isinstance(part, nn.MultiheadAttention):
            part.dropout = rate
    return pellucid.open(network, images(2).float())


@pytest.mark.parametrize("rate", [0.0, 0.25])
def test_an_exported_vit_opens_with_the_same_layers(rate: float, tmp_path: Path) -> None:
    model = opened(rate)
    to_onnx(model, tmp_path / "net.onnx")
    reopened = pellucid.open(tmp_path / "net.onnx")
    x = images(5, seed=1).float()
    torch.testing.assert_close(reopened(x), model(x), rtol=1e-5, atol=1e-6)
    assert attentions(model) == attentions(reopened) == [Attention(rate=rate)] * 2
    assert reopened.weights.keys() == model.weights.keys()


def attentions(model: pellucid.Model) -> list[Layer]:
    return [layer for layer in model.net.layers.values() if isinstance(layer, Attention)]


def test_a_file_from_before_a_field_of_a_layer_opens_with_its_default(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    to_onnx(opened(), path)
    proto = onnx.load(path)
    entries = [entry for node in proto.graph.node for entry in node.metadata_props if ', "rate": 0.0' in entry.value]
    for entry in entries:
        entry.value = entry.value.replace(', "rate": 0.0', "")
    onnx.save(proto, path)
    assert entries
    assert attentions(pellucid.open(path)) == [Attention()] * 2


class Masked(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q = x.flatten(2)
        return F.scaled_dot_product_attention(q, q, q, torch.ones(3, 3).tril().bool())


@pytest.mark.parametrize("has_mask", [False, True])
def test_dropout_of_attention_weights_is_in_the_pytorch_code(has_mask: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = pellucid.open(Masked(), images(2).float(), loss="quadratic") if has_mask else opened()
    net = map_layers(model.net, lambda layer: replace(layer, rate=0.25) if isinstance(layer, Attention) else layer)
    text, weights = source("net", net, model.params, (3, 16, 16), None, None)
    module = module_of(text).network()
    module.load_state_dict(weights)
    rates: list[float] = []
    attend = F.scaled_dot_product_attention

    def recorded(*values: torch.Tensor, dropout_p: float, **options: Any) -> torch.Tensor:
        rates.append(dropout_p)
        return attend(*values, dropout_p=dropout_p, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", recorded)
    x = images(3).float()
    y, in_training = module.eval()(x), module.train()(x)
    torch.testing.assert_close(y, model(x), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(y, in_training)
    assert rates in ([0.0, 0.25], [0.0, 0.0, 0.25, 0.25])


@pytest.mark.slow
def test_the_weights_of_a_pytorch_file_have_the_keys_of_the_opened_network(tmp_path: Path) -> None:
    model = opened()
    to_torch(model, tmp_path / "net.py")
    assert load_file(tmp_path / "net_weights.safetensors").keys() == model.weights.keys()
