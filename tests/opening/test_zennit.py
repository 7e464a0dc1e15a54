"""Relevance of opened convolutional networks against Zennit, which attaches its rules to modules."""

from functools import cache

import pytest
import torch
from torch import Tensor, nn

import pellucid
from conformance.explanations.joined import GOOGLENET
from conformance.explanations.networks import MOBILENET, RESNET, VGG, Pair, draw_pair
from conformance.explanations.zennit_import import zennit
from conformance.explanations.zennit_side import StackedSum, attribution, composite_pairs
from pellucid.explain import lrp

FAMILIES = {family.name: family for family in (VGG, RESNET, MOBILENET, GOOGLENET)}
COMPOSITE_PAIRS = {pair.name: pair for pair in composite_pairs() if pair.starts_from_score}


@cache
def open_family(family: str) -> tuple[Pair, pellucid.Model]:
    pair = draw_pair(FAMILIES[family], StackedSum)
    return pair, pellucid.open(pair.module, pair.x, classes=5)


def zennit_relevance(name: str, pair: Pair) -> Tensor:
    return attribution(COMPOSITE_PAIRS[name].make_reference([zennit().canonizers.SequentialMergeBatchNorm()]), pair)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", COMPOSITE_PAIRS)
def test_relevance_of_an_opened_network_equals_zennits(name: str, family: str) -> None:
    pair, model = open_family(family)
    relevance = lrp(model.net, model.params, pair.x, pair.target, COMPOSITE_PAIRS[name].pellucid)
    expected = zennit_relevance(name, pair)
    assert float((relevance - expected).abs().max() / expected.abs().max()) <= 1e-9


class FunctionalSum(nn.Module):
    """The sum as an operator instead of a module, for which Zennit has no rule."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b


def test_the_relevance_of_a_sum_that_is_no_module_is_shared_in_pellucid_and_doubled_in_zennit() -> None:
    pair, functional = open_family(RESNET.name)[0], draw_pair(RESNET, FunctionalSum)
    model = pellucid.open(functional.module, functional.x, classes=5)
    relevance = lrp(model.net, model.params, functional.x, functional.target, COMPOSITE_PAIRS["EpsilonPlus"].pellucid)
    expected = zennit_relevance("EpsilonPlus", pair)  # for the same weights, with a module for each sum
    torch.testing.assert_close(relevance, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))
    doubled = zennit_relevance("EpsilonPlus", functional)
    assert float(doubled.sum()) > 1.5 * float(expected.sum()) > 0
