"""Zennit's composites compared with ours, on small networks."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from conformance.case import Case, relative_error
from conformance.explanations.joined import BRANCHED_FAMILIES, DENSENET
from conformance.explanations.networks import FAMILIES, MOBILENET, Family, Pair, draw_pair
from conformance.explanations.zennit_import import zennit
from pellucid.explain import lrp
from pellucid.explain.sweeps import backward_by_composite
from pellucid.layers import ReLU
from pellucid.rules import (
    Composite,
    Deconv,
    Epsilon,
    Guided,
    WSquare,
    at_entrance,
    composite,
    deconvnet,
    epsilon_alpha2_beta1,
    epsilon_alpha2_beta1_flat,
    epsilon_gamma_box,
    epsilon_plus,
    epsilon_plus_flat,
    excitation_backprop,
    guided_backprop,
    relevance,
)
from pellucid.rules.fold import fold

TOLERANCE = 1e-9


class StackedSum(nn.Module):
    """The sum of two tensors by Zennit's module Sum, for which Zennit has a rule."""

    def __init__(self) -> None:
        super().__init__()
        self.sum = zennit().layer.Sum(-1)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:  # noqa: D102
        return self.sum(torch.stack([a, b], -1))


@dataclass(frozen=True)
class CompositePair:
    """A composite of Zennit and the same one of ours.

    `starts_from_score` is whether the backward pass starts from the score (else from 1). `on_mobilenets` replaces
    `pellucid` for MobileNets, because Zennit's rules for nn.ReLU do not change the gradient of nn.ReLU6.
    """

    name: str
    subject: Any
    pellucid: Composite
    make_reference: Callable[[list[Any]], Any]  # from canonizers
    starts_from_score: bool = True
    on_mobilenets: Composite | None = None


def cases() -> Iterator[Case]:
    """Yield every composite on every family of networks, with three draws of the weights each.

    Both merge batch normalization into the weights, except in the DenseNet.
    """
    for composite_pair in composite_pairs():
        for family in (*FAMILIES, *BRANCHED_FAMILIES):
            for seed in range(3):
                suite = f"Zennit {composite_pair.name}, {family}"
                check = partial(compare, composite_pair, family, seed)
                yield Case(suite, version("zennit"), f"weights {seed}", composite_pair.subject, check, TOLERANCE)


def composite_pairs() -> list[CompositePair]:
    """Return the composites that both Zennit and Pellucid have."""
    composites = zennit().composites
    rules = zennit().rules
    guided, deconv = composite((ReLU, Guided())), composite((ReLU, Deconv()))

    def epsilon_and_wsquare(canonizers: list[Any]) -> Any:
        layers, first = [(nn.Linear, rules.Epsilon()), (nn.Conv2d, rules.Epsilon())], [(nn.Conv2d, rules.WSquare())]
        table = composites.layer_map_base() + layers
        return composites.SpecialFirstLayerMapComposite(table, first, canonizers)

    return [
        CompositePair("EpsilonPlus", epsilon_plus, epsilon_plus(), lambda c: composites.EpsilonPlus(canonizers=c)),
        CompositePair(
            "EpsilonPlus 0.1",
            epsilon_plus,
            epsilon_plus(0.1, 0.01),
            lambda c: composites.EpsilonPlus(0.1, 0.01, canonizers=c),
        ),
        CompositePair(
            "EpsilonPlusFlat",
            epsilon_plus_flat,
            epsilon_plus_flat(),
            lambda c: composites.EpsilonPlusFlat(canonizers=c),
        ),
        CompositePair(
            "EpsilonAlpha2Beta1",
            epsilon_alpha2_beta1,
            epsilon_alpha2_beta1(),
            lambda c: composites.EpsilonAlpha2Beta1(canonizers=c),
        ),
        CompositePair(
            "EpsilonAlpha2Beta1Flat",
            epsilon_alpha2_beta1_flat,
            epsilon_alpha2_beta1_flat(),
            lambda c: composites.EpsilonAlpha2Beta1Flat(canonizers=c),
        ),
        CompositePair(
            "EpsilonGammaBox",
            epsilon_gamma_box,
            epsilon_gamma_box(0.0, 1.0),
            lambda c: composites.EpsilonGammaBox(0.0, 1.0, canonizers=c),
        ),
        CompositePair(
            "Epsilon and WSquare",
            at_entrance,
            lambda entrance: at_entrance(entrance, WSquare(bias=True), relevance(Epsilon(), Epsilon())),
            epsilon_and_wsquare,
        ),
        CompositePair(
            "ExcitationBackprop",
            excitation_backprop,
            excitation_backprop(),
            lambda c: composites.ExcitationBackprop(canonizers=c),
            False,
        ),
        CompositePair(
            "GuidedBackprop",
            guided_backprop,
            guided_backprop(),
            lambda c: composites.GuidedBackprop(canonizers=c),
            False,
            lambda _: guided,
        ),
        CompositePair(
            "DeconvNet",
            deconvnet,
            deconvnet(),
            lambda c: composites.DeconvNet(canonizers=c),
            False,
            lambda _: deconv,
        ),
    ]


def compare(composite_pair: CompositePair, family: Family, seed: int) -> float:
    """Return the relative error of our attribution compared with Zennit's."""
    pair = draw_pair(family, StackedSum, seed)
    # Zennit merges a normalization into the module before it, even one of another branch, which is wrong in a DenseNet.
    folded = family is not DENSENET
    canonizers = [zennit().canonizers.SequentialMergeBatchNorm()] if folded else []
    reference = attribution(composite_pair.make_reference(canonizers), pair, composite_pair.starts_from_score)
    pellucid_composite = (
        composite_pair.on_mobilenets
        if composite_pair.on_mobilenets and family is MOBILENET
        else composite_pair.pellucid
    )
    if composite_pair.starts_from_score:
        return relative_error(
            "relevance", lrp(pair.net, pair.params, pair.x, pair.target, pellucid_composite, folded), reference
        )
    net, params = fold(pair.net, pair.params) if folded else (pair.net, pair.params)
    return relative_error(
        "attribution", backward_by_composite(net, params, pair.x, pair.target, pellucid_composite), reference
    )


def attribution(zennit_composite: Any, pair: Pair, from_score: bool = True) -> Tensor:
    """Return Zennit's attribution for a composite; the backward pass starts from the score, or from 1."""

    def output_gradient(y: Tensor) -> Tensor:
        mask = torch.zeros_like(y).scatter_(1, pair.target[:, None], 1.0)
        return y.detach() * mask if from_score else mask

    with warnings.catch_warnings(), zennit().attribution.Gradient(pair.module, zennit_composite) as attributor:
        warnings.simplefilter("ignore")
        return attributor(pair.x.clone(), output_gradient)[1].detach()
