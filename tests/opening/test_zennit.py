"""Relevance of opened convolutional networks beside Zennit's, whose rules are attached to the modules."""

from functools import cache

import pytest
import torch
from torch import Tensor, nn

import pellucid
from conformance.explanations.joined import GOOGLENET
from conformance.explanations.networks import MOBILENET, RESNET, VGG, Pair, pair
from conformance.explanations.zennit_import import zennit
from conformance.explanations.zennit_side import Stacked, attribution, usuals
from pellucid.explain import lrp

FAMILIES = {family.name: family for family in (VGG, RESNET, MOBILENET, GOOGLENET)}
USUAL = {usual.name: usual for usual in usuals() if usual.relevance}


@cache
def opened(family: str) -> tuple[Pair, pellucid.Model]:
    both = pair(FAMILIES[family], Stacked)
    return both, pellucid.open(both.module, both.x, classes=5)


def by_zennit(name: str, both: Pair) -> Tensor:
    return attribution(USUAL[name].theirs([zennit().canonizers.SequentialMergeBatchNorm()]), both)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", USUAL)
def test_relevance_of_an_opened_network_is_that_of_zennit(name: str, family: str) -> None:
    both, model = opened(family)
    found = lrp(model.net, model.params, both.x, both.target, USUAL[name].ours)
    expected = by_zennit(name, both)
    assert float((found - expected).abs().max() / expected.abs().max()) <= 1e-9


class Added(nn.Module):
    """The sum as most authors write it, for which Zennit has no rule."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b


def test_a_sum_that_is_no_module_is_shared_here_and_counted_twice_by_zennit() -> None:
    both, written = opened(RESNET.name)[0], pair(RESNET, Added)
    model = pellucid.open(written.module, written.x, classes=5)
    found = lrp(model.net, model.params, written.x, written.target, USUAL["EpsilonPlus"].ours)
    expected = by_zennit("EpsilonPlus", both)  # of the same weights, with a module for each sum
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))
    doubled = by_zennit("EpsilonPlus", written)
    assert float(doubled.sum()) > 1.5 * float(expected.sum()) > 0
