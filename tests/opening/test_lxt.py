"""Relevance of an opened transformer against LXT, which patches modules to apply its rules."""

import pytest
import torch

import pellucid
from benchmarks.relevance.networks import ViT, with_functional_gelu
from benchmarks.relevance.tools import LXT, by_lxt
from pellucid.explain import ledger


@pytest.fixture(scope="module")
def network() -> ViT:
    torch.manual_seed(0)
    network = ViT(16, 2, 2).double().eval()
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return network


X = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
TARGET = torch.tensor([1, 4, 7])


@pytest.mark.parametrize("name", LXT)
def test_relevance_of_an_opened_transformer_equals_lxts(network: ViT, name: str) -> None:
    model = pellucid.open(network, X, classes=10)
    relevance = model.explain(X, "lrp", target=TARGET, composite=name, epsilon=1e-16)
    expected = by_lxt(network, X, TARGET, name)
    assert float((relevance - expected).abs().max() / expected.abs().max()) <= 1e-6  # LXT adds 1e-10 to inputs of GELU


def test_a_gelu_that_is_no_module_has_its_rule_in_pellucid_but_not_in_lxt(network: ViT) -> None:
    functional = with_functional_gelu(network)
    model = pellucid.open(functional, X, classes=10)
    result = ledger(model.net, model.params, X, TARGET, composite="cp_lrp", epsilon=1e-16)
    expected = by_lxt(network, X, TARGET, "cp_lrp")
    torch.testing.assert_close(result.map, expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max()))
    assert abs(result.gap) <= 1e-10 * abs(result.score)
    lost = by_lxt(functional, X, TARGET, "cp_lrp")
    assert float((lost - expected).abs().max() / expected.abs().max()) > 0.01
