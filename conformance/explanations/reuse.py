"""A network that uses its layers twice: ours as it is, beside Captum's and Zennit's answers for an unrolled copy.

What they answer for the network itself is an error or wrong, as a hook keeps one input for each module: see
tests/explain/test_reused.py.
"""

import warnings
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import Any

from torch import Tensor, nn

from conformance.case import Case, gap
from conformance.explanations.captum_side import STABILIZER, epsilon_table
from conformance.explanations.networks import CLASSES, Family, Pair, pair
from conformance.explanations.zennit_import import zennit
from conformance.explanations.zennit_side import attribution
from pellucid import explain
from pellucid.combine import Graph
from pellucid.layers import AdaptiveAvgPool2d, Conv2d, Dense, Flatten, ReLU
from pellucid.rules import epsilon_alpha2_beta1, epsilon_gamma_box, epsilon_plus, epsilon_plus_flat

TOLERANCE = 1e-6  # Captum's relevance goes through stabilizers of its own in pooling and flattening


class Reused(nn.Module):
    """Run one convolution and one ReLU twice, the second time on what the first made."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()
        self.mean, self.flatten = nn.AdaptiveAvgPool2d(4), nn.Flatten()
        self.scores = nn.Linear(48, CLASSES)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.scores(self.flatten(self.mean(self.relu(self.conv(self.relu(self.conv(x)))))))


FAMILY = Family(
    "layers used twice",
    Graph(
        {
            "conv": (Conv2d(3, 3, padding=1), "input"),
            "relu": (ReLU(), "conv"),
            "conv_again": ("conv", "relu"),
            "relu_again": ("relu", "conv_again"),
            "mean": (AdaptiveAvgPool2d(4), "relu_again"),
            "flatten": (Flatten(), "mean"),
            "scores": (Dense(CLASSES), "flatten"),
        },
        ("scores",),
    ),
    lambda add: Reused(),
)


def reused(seed: int = 0) -> Pair:
    """Return the network twice, both as it is."""
    return pair(FAMILY, nn.Identity, seed)


def unrolled(both: Pair) -> Pair:
    """Return the same network, of which the module uses each of its parts once."""
    net = both.module
    assert isinstance(net, Reused)
    again = deepcopy(net)
    return replace(
        both, module=nn.Sequential(net.conv, net.relu, again.conv, again.relu, net.mean, net.flatten, net.scores)
    )


def captums() -> dict[str, tuple[Any, Callable[[Pair], Tensor], Callable[[Pair], Tensor]]]:
    """Return, by method of Captum: our part, our answer and theirs."""
    from captum import attr

    def plain(kind: Any) -> Callable[[Pair], Tensor]:
        return lambda both: kind(both.module).attribute(both.x.clone(), target=both.target)

    def ours(method: Callable[..., Tensor], **options: Any) -> Callable[[Pair], Tensor]:
        return lambda both: method(both.net, both.params, both.x, both.target, **options)

    return {
        "GuidedBackprop": (explain.guided_backprop, ours(explain.guided_backprop), plain(attr.GuidedBackprop)),
        "Deconvolution": (explain.deconvnet, ours(explain.deconvnet, activation=False), plain(attr.Deconvolution)),
        "LRP": (explain.lrp, ours(explain.lrp, composite=epsilon_table()), partial(captum_lrp)),
    }


def captum_lrp(both: Pair) -> Tensor:
    """Return Captum's relevance by its epsilon rule."""
    from captum.attr import LRP
    from captum.attr._utils.lrp_rules import EpsilonRule

    for module in both.module.modules():
        if isinstance(module, nn.Flatten):
            module.rule = EpsilonRule(STABILIZER)  # pyright: ignore[reportArgumentType] - Captum's way of giving rules
    return LRP(both.module).attribute(both.x.clone(), target=both.target)


def zennits() -> dict[str, tuple[Any, Callable[[Pair], Tensor], Callable[[Pair], Tensor]]]:
    """Return, by composite of Zennit: our part, our answer and theirs."""
    made = zennit().composites
    usual = {
        "EpsilonPlus": (epsilon_plus, epsilon_plus(), made.EpsilonPlus),
        "EpsilonPlusFlat": (epsilon_plus_flat, epsilon_plus_flat(), made.EpsilonPlusFlat),
        "EpsilonAlpha2Beta1": (epsilon_alpha2_beta1, epsilon_alpha2_beta1(), made.EpsilonAlpha2Beta1),
        "EpsilonGammaBox": (epsilon_gamma_box, epsilon_gamma_box(0.0, 1.0), partial(made.EpsilonGammaBox, 0.0, 1.0)),
    }

    def ours(composite: Any) -> Callable[[Pair], Tensor]:
        return lambda both: explain.lrp(both.net, both.params, both.x, both.target, composite)

    def theirs(make: Callable[[], Any]) -> Callable[[Pair], Tensor]:
        return lambda both: attribution(make(), both)

    return {name: (subject, ours(own), theirs(make)) for name, (subject, own, make) in usual.items()}


def cases() -> Iterator[Case]:
    """Yield every method on the network, theirs on its unrolled copy."""
    for tool, methods in (("Captum", captums()), ("Zennit", zennits())):
        for name, (subject, ours, theirs) in methods.items():
            for seed in range(3):
                check = partial(_compare, ours, theirs, seed)
                suite = f"{tool} {name}, {FAMILY}"
                yield Case(suite, version(tool.lower()), f"weights {seed}", subject, check, TOLERANCE)


def _compare(ours: Callable[[Pair], Tensor], theirs: Callable[[Pair], Tensor], seed: int) -> float:
    both = reused(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = theirs(unrolled(both)).detach()
    return gap("attribution", ours(both), expected)
