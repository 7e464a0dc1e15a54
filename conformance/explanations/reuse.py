"""Our attribution for a network that uses its layers twice, compared with Captum's and Zennit's for an unrolled copy.

For the network itself the two tools raise an error or return a wrong result, because a hook keeps one input for each
module: see tests/explain/test_reused.py.
"""

import warnings
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import Any

from torch import Tensor, nn

from conformance.case import Case, relative_error
from conformance.explanations.captum_side import STABILIZER, epsilon_table
from conformance.explanations.networks import CLASSES, Family, Pair, draw_pair
from conformance.explanations.zennit_import import zennit
from conformance.explanations.zennit_side import attribution
from pellucid import explain
from pellucid.combine import Graph
from pellucid.layers import AdaptiveAvgPool2d, Conv2d, Dense, Flatten, ReLU
from pellucid.rules import epsilon_alpha2_beta1, epsilon_gamma_box, epsilon_plus, epsilon_plus_flat

TOLERANCE = 1e-6  # Captum adds stabilizers in pooling and flattening too


class ReusedLayers(nn.Module):
    """A network that runs one convolution and one ReLU twice, the second time on the output of the first."""

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
    lambda add: ReusedLayers(),
)


def reused_pair(seed: int = 0) -> Pair:
    """Return our network and the PyTorch module, both with reused layers."""
    return draw_pair(FAMILY, nn.Identity, seed)


def unrolled_pair(pair: Pair) -> Pair:
    """Return the pair with an equivalent PyTorch module that uses each of its submodules once."""
    net = pair.module
    assert isinstance(net, ReusedLayers)
    second_copy = deepcopy(net)
    return replace(
        pair,
        module=nn.Sequential(net.conv, net.relu, second_copy.conv, second_copy.relu, net.mean, net.flatten, net.scores),
    )


def captum_methods() -> dict[str, tuple[Any, Callable[[Pair], Tensor], Callable[[Pair], Tensor]]]:
    """Return (our class or function, our attribution, Captum's attribution) by the name of Captum's method."""
    from captum import attr

    def by_captum(kind: Any) -> Callable[[Pair], Tensor]:
        return lambda pair: kind(pair.module).attribute(pair.x.clone(), target=pair.target)

    def by_pellucid(method: Callable[..., Tensor], **options: Any) -> Callable[[Pair], Tensor]:
        return lambda pair: method(pair.net, pair.params, pair.x, pair.target, **options)

    return {
        "GuidedBackprop": (
            explain.guided_backprop,
            by_pellucid(explain.guided_backprop),
            by_captum(attr.GuidedBackprop),
        ),
        "Deconvolution": (
            explain.deconvnet,
            by_pellucid(explain.deconvnet, activation=False),
            by_captum(attr.Deconvolution),
        ),
        "LRP": (explain.lrp, by_pellucid(explain.lrp, composite=epsilon_table()), partial(captum_lrp)),
    }


def captum_lrp(pair: Pair) -> Tensor:
    """Return Captum's relevance by its epsilon rule in all layers."""
    from captum.attr import LRP
    from captum.attr._utils.lrp_rules import EpsilonRule

    for module in pair.module.modules():
        if isinstance(module, nn.Flatten):
            module.rule = EpsilonRule(STABILIZER)  # pyright: ignore[reportArgumentType] - Captum reads the rule from it
    return LRP(pair.module).attribute(pair.x.clone(), target=pair.target)


def zennit_methods() -> dict[str, tuple[Any, Callable[[Pair], Tensor], Callable[[Pair], Tensor]]]:
    """Return (our function, our attribution, Zennit's attribution) by the name of Zennit's composite."""
    composites = zennit().composites
    composites_by_name = {
        "EpsilonPlus": (epsilon_plus, epsilon_plus(), composites.EpsilonPlus),
        "EpsilonPlusFlat": (epsilon_plus_flat, epsilon_plus_flat(), composites.EpsilonPlusFlat),
        "EpsilonAlpha2Beta1": (epsilon_alpha2_beta1, epsilon_alpha2_beta1(), composites.EpsilonAlpha2Beta1),
        "EpsilonGammaBox": (
            epsilon_gamma_box,
            epsilon_gamma_box(0.0, 1.0),
            partial(composites.EpsilonGammaBox, 0.0, 1.0),
        ),
    }

    def by_pellucid(composite: Any) -> Callable[[Pair], Tensor]:
        return lambda pair: explain.lrp(pair.net, pair.params, pair.x, pair.target, composite)

    def by_zennit(make: Callable[[], Any]) -> Callable[[Pair], Tensor]:
        return lambda pair: attribution(make(), pair)

    return {
        name: (subject, by_pellucid(pellucid_composite), by_zennit(make))
        for name, (subject, pellucid_composite, make) in composites_by_name.items()
    }


def cases() -> Iterator[Case]:
    """Yield every method, ours on the network and the other tool's on its unrolled copy."""
    for tool, methods in (("Captum", captum_methods()), ("Zennit", zennit_methods())):
        for name, (subject, attribute, reference) in methods.items():
            for seed in range(3):
                check = partial(_compare, attribute, reference, seed)
                suite = f"{tool} {name}, {FAMILY}"
                yield Case(suite, version(tool.lower()), f"weights {seed}", subject, check, TOLERANCE)


def _compare(attribute: Callable[[Pair], Tensor], reference: Callable[[Pair], Tensor], seed: int) -> float:
    pair = reused_pair(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = reference(unrolled_pair(pair)).detach()
    return relative_error("attribution", attribute(pair), expected)
