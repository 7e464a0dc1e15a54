"""Zennit's composites beside ours, on whole networks."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from conformance.case import Case, gap
from conformance.explanations.joined import DENSENET, JOINED
from conformance.explanations.networks import FAMILIES, MOBILENET, Family, Pair, pair
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


class Stacked(nn.Module):
    """The sum of two tensors by the module that Zennit has a rule for."""

    def __init__(self) -> None:
        super().__init__()
        self.sum = zennit().layer.Sum(-1)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:  # noqa: D102
        return self.sum(torch.stack([a, b], -1))


@dataclass(frozen=True)
class Usual:
    """A composite of Zennit and ours; `relevance` says whether the score itself goes down, else 1.

    On MobileNets, ours can be another one: Zennit's rules for nn.ReLU leave nn.ReLU6 its gradient.
    """

    name: str
    subject: Any
    ours: Composite
    theirs: Callable[[list[Any]], Any]  # from canonizers
    relevance: bool = True
    on_mobilenets: Composite | None = None


def cases() -> Iterator[Case]:
    """Yield every composite on every family of networks, batch normalization merged by theirs and by ours."""
    for usual in usuals():
        for family in (*FAMILIES, *JOINED):
            for seed in range(3):
                suite = f"Zennit {usual.name}, {family}"
                check = partial(compare, usual, family, seed)
                yield Case(suite, version("zennit"), f"weights {seed}", usual.subject, check, TOLERANCE)


def usuals() -> list[Usual]:
    """Return the composites that both have."""
    made = zennit().composites
    rules = zennit().rules
    guided, deconv = composite((ReLU, Guided())), composite((ReLU, Deconv()))

    def squared(canonizers: list[Any]) -> Any:
        layers, first = [(nn.Linear, rules.Epsilon()), (nn.Conv2d, rules.Epsilon())], [(nn.Conv2d, rules.WSquare())]
        table = made.layer_map_base() + layers
        return made.SpecialFirstLayerMapComposite(table, first, canonizers)

    return [
        Usual("EpsilonPlus", epsilon_plus, epsilon_plus(), lambda c: made.EpsilonPlus(canonizers=c)),
        Usual(
            "EpsilonPlus 0.1",
            epsilon_plus,
            epsilon_plus(0.1, 0.01),
            lambda c: made.EpsilonPlus(0.1, 0.01, canonizers=c),
        ),
        Usual("EpsilonPlusFlat", epsilon_plus_flat, epsilon_plus_flat(), lambda c: made.EpsilonPlusFlat(canonizers=c)),
        Usual(
            "EpsilonAlpha2Beta1",
            epsilon_alpha2_beta1,
            epsilon_alpha2_beta1(),
            lambda c: made.EpsilonAlpha2Beta1(canonizers=c),
        ),
        Usual(
            "EpsilonAlpha2Beta1Flat",
            epsilon_alpha2_beta1_flat,
            epsilon_alpha2_beta1_flat(),
            lambda c: made.EpsilonAlpha2Beta1Flat(canonizers=c),
        ),
        Usual(
            "EpsilonGammaBox",
            epsilon_gamma_box,
            epsilon_gamma_box(0.0, 1.0),
            lambda c: made.EpsilonGammaBox(0.0, 1.0, canonizers=c),
        ),
        Usual(
            "Epsilon and WSquare",
            at_entrance,
            lambda entrance: at_entrance(entrance, WSquare(bias=True), relevance(Epsilon(), Epsilon())),
            squared,
        ),
        Usual(
            "ExcitationBackprop",
            excitation_backprop,
            excitation_backprop(),
            lambda c: made.ExcitationBackprop(canonizers=c),
            False,
        ),
        Usual(
            "GuidedBackprop",
            guided_backprop,
            guided_backprop(),
            lambda c: made.GuidedBackprop(canonizers=c),
            False,
            lambda _: guided,
        ),
        Usual(
            "DeconvNet",
            deconvnet,
            deconvnet(),
            lambda c: made.DeconvNet(canonizers=c),
            False,
            lambda _: deconv,
        ),
    ]


def compare(usual: Usual, family: Family, seed: int) -> float:
    """Return how far ours is from theirs."""
    both = pair(family, Stacked, seed)
    # Zennit merges normalization into the layer whose module comes before, even where another branch lies between
    folded = family is not DENSENET
    merge = [zennit().canonizers.SequentialMergeBatchNorm()] if folded else []
    theirs = attribution(usual.theirs(merge), both, usual.relevance)
    ours = usual.on_mobilenets if usual.on_mobilenets and family is MOBILENET else usual.ours
    if usual.relevance:
        return gap("relevance", lrp(both.net, both.params, both.x, both.target, ours, folded), theirs)
    net, params = fold(both.net, both.params) if folded else (both.net, both.params)
    return gap("attribution", backward_by_composite(net, params, both.x, both.target, ours), theirs)


def attribution(made: Any, both: Pair, scored: bool = True) -> Tensor:
    """Return Zennit's answer for a composite."""

    def above(y: Tensor) -> Tensor:
        mask = torch.zeros_like(y).scatter_(1, both.target[:, None], 1.0)
        return y.detach() * mask if scored else mask

    with warnings.catch_warnings(), zennit().attribution.Gradient(both.module, made) as attributor:
        warnings.simplefilter("ignore")
        return attributor(both.x.clone(), above)[1].detach()
