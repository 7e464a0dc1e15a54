"""Captum's methods beside ours."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from conformance.case import Case, SkipCase, gap
from conformance.explanations.joined import DENSENET, JOINED
from conformance.explanations.networks import FAMILIES, MOBILENET, SHAPE, Family, Pair, pair
from pellucid import explain
from pellucid.explain.sweeps import backward_by_composite
from pellucid.layers import BatchNorm, ReLU
from pellucid.layers.base import Trait
from pellucid.rules import Deconv, Epsilon, Gamma, Guided, Norm, Pass, Rules, Table, ZPlus, composite

SINGLE = 1e-5  # Captum takes the steps of its integrals in float32
DOUBLE = 1e-9
STABILIZER = 1e-9  # Captum's own
# Where our path of Grad-CAM's maps is named otherwise than by the last layer with maps
LAST = {
    "VGG-like": "relu3",
    "ResNet-like": "relu2",
    "MobileNet-like": "last_relu",
    "GoogLeNet-like": "last_relu",
    "DenseNet-like": "last_relu",
}


@dataclass(frozen=True)
class Method:
    """One method of Captum, and ours: both take a Pair and return the attribution."""

    name: str
    subject: Any
    ours: Callable[[Pair], Tensor]
    theirs: Callable[[Pair], Tensor]
    tolerance: float = DOUBLE
    without: Mapping[str, str] = field(default_factory=dict)  # by family, why Captum cannot do it


def captum_sum() -> nn.Module:
    """Return the module that Captum adds by."""
    from captum.attr._utils.custom_modules import Addition_Module

    return Addition_Module()


def cases() -> Iterator[Case]:
    """Yield every method on every family of networks, with several weights each."""
    for method in methods():
        for family in (*FAMILIES, *JOINED):
            for seed in range(3):
                check = partial(compare, method, family, seed)
                suite = f"Captum {method.name}, {family}"
                yield Case(suite, version("captum"), f"weights {seed}", method.subject, check, method.tolerance)


def compare(method: Method, family: Family, seed: int) -> float:
    """Return how far ours is from theirs; raises SkipCase for what Captum cannot do."""
    if family.name in method.without:
        raise SkipCase(method.without[family.name])
    both = pair(family, captum_sum, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = method.theirs(both).detach()
    return gap("attribution", method.ours(both), theirs)


def methods() -> list[Method]:
    """Return the methods that both have."""
    from captum import attr
    from captum.attr._utils import lrp_rules

    def plain(kind: Any, **options: Any) -> Callable[[Pair], Tensor]:
        return lambda both: kind(both.module).attribute(both.x.clone(), target=both.target, **options)

    def ours(method: Callable[..., Tensor], **options: Any) -> Callable[[Pair], Tensor]:
        return lambda both: method(both.net, both.params, both.x, both.target, **options)

    def by_rules(rules: Rules) -> Callable[[Pair], Tensor]:
        return lambda both: backward_by_composite(both.net, both.params, both.x, both.target, lambda entrance: rules)

    found = [
        Method("Saliency", explain.saliency, ours(explain.saliency), plain(attr.Saliency)),
        Method(
            "Saliency abs=False", explain.saliency, ours(explain.saliency, signed=True), plain(attr.Saliency, abs=False)
        ),
        Method("InputXGradient", explain.input_x_gradient, ours(explain.input_x_gradient), plain(attr.InputXGradient)),
        # Captum's two know nn.ReLU alone, and leave nn.ReLU6 its gradient
        Method("GuidedBackprop", Guided, by_rules(composite((ReLU, Guided()))), plain(attr.GuidedBackprop)),
        Method("Deconvolution", Deconv, by_rules(composite((ReLU, Deconv()))), plain(attr.Deconvolution)),
    ]
    integrals = {
        "gausslegendre": "gauss_legendre",
        "riemann_left": "left",
        "riemann_right": "right",
        "riemann_middle": "middle",
    }
    for theirs, name in integrals.items():
        mine = ours(explain.integrated_gradients, steps=20, quadrature=name, baseline=0.2)
        captums = plain(attr.IntegratedGradients, n_steps=20, method=theirs, baselines=0.2)
        found.append(Method(f"IntegratedGradients {theirs}", explain.integrated_gradients, mine, captums, SINGLE))
    # Captum's weights of the trapezoid rule add up to (n - 1) / n
    mine = ours(explain.integrated_gradients, steps=20, quadrature="trapezoid")
    captums = plain(attr.IntegratedGradients, n_steps=20, method="riemann_trapezoid")
    found.append(
        Method(
            "IntegratedGradients riemann_trapezoid x 20/19",
            explain.integrated_gradients,
            mine,
            lambda both: captums(both) * 20 / 19,
            SINGLE,
        )
    )
    found += [
        Method(
            f"NoiseTunnel {theirs}",
            explain.smoothgrad,
            partial(_smooth, kind=kind),
            partial(_tunnel, kind=theirs),
            SINGLE,
        )
        for theirs, kind in (("smoothgrad", "mean"), ("smoothgrad_sq", "square"), ("vargrad", "variance"))
    ]
    for signed in (True, False):
        found.append(
            Method(
                f"LayerGradCam relu_attributions={not signed}",
                explain.gradcam,
                ours(explain.gradcam, signed=signed, upsample=False),
                partial(_gradcam, rectify=not signed),
            )
        )
    found.append(
        Method(
            "GuidedGradCam",
            explain.guided_gradcam,
            ours(explain.guided_gradcam),
            lambda both: attr.GuidedGradCam(both.module, _last(both)).attribute(
                both.x, both.target, interpolate_mode="bilinear"
            ),
            without={MOBILENET.name: "Captum guides nn.ReLU only, not nn.ReLU6"},
        )
    )
    rules = {
        "EpsilonRule": (Epsilon, Epsilon(STABILIZER), lambda: lrp_rules.EpsilonRule(STABILIZER)),
        "EpsilonRule 0.1": (Epsilon, Epsilon(0.1), lambda: lrp_rules.EpsilonRule(0.1)),
        "GammaRule": (
            Gamma,
            Gamma(0.25, STABILIZER, bias=False, by_sign=False),
            lambda: lrp_rules.GammaRule(0.25, set_bias_to_zero=True),
        ),
        "Alpha1_Beta0_Rule": (
            ZPlus,
            ZPlus(STABILIZER, bias=False),
            lambda: lrp_rules.Alpha1_Beta0_Rule(set_bias_to_zero=True),
        ),
    }
    for name, (subject, rule, make) in rules.items():
        without = {DENSENET.name: "Captum's differs from Zennit's and ours where torch.cat joins an input to its map"}
        if subject is ZPlus:
            without[MOBILENET.name] = "inputs below 0, which Captum's rule is not for"
        table = epsilon_table(rule)
        mine = ours(explain.lrp, composite=table, folded=False)
        found.append(Method(f"LRP {name}", subject, mine, partial(_lrp, make=make), SINGLE, without))
    return [*found, *_hiding()]


def _hiding() -> list[Method]:
    """Return the methods that hide parts of the image, or of what a layer puts out."""
    from captum import attr

    def squares(side: int, step: int) -> Method:
        def theirs(both: Pair) -> Tensor:
            channels = both.x.shape[1]
            found = attr.Occlusion(both.module).attribute(
                both.x, (channels, side, side), (channels, step, step), baselines=0.3, target=both.target
            )
            return found[:, :1].double()  # the same for each channel, and in float32

        def ours(both: Pair) -> Tensor:
            return explain.occlusion(both.net, both.params, both.x, both.target, side, step, 0.3)

        return Method(f"Occlusion {side} by {step}", explain.occlusion, ours, theirs, SINGLE)

    def grid(both: Pair) -> Tensor:
        rows = torch.arange(SHAPE[1]) // 4
        mask = (4 * rows[:, None] + rows).expand(1, *both.x.shape[1:])
        return attr.FeatureAblation(both.module).attribute(both.x, 0.3, both.target, feature_mask=mask)[:, :1]

    def tiles(both: Pair) -> Tensor:
        return explain.occlusion(both.net, both.params, both.x, both.target, 4, 4, 0.3)

    def maps(both: Pair) -> Tensor:
        path = LAST[both.family.name]
        return explain.map_effects(both.net, both.params, both.x, both.target, path, 0.2)

    def layer(both: Pair) -> Tensor:
        judge = attr.LayerFeatureAblation(both.module, _last(both))
        count = maps(both).shape[1]
        found = judge.attribute(both.x, 0.2, both.target, layer_mask=torch.arange(count).view(1, count, 1, 1))
        assert isinstance(found, Tensor)
        return found[:, :, 0, 0]

    return [
        squares(4, 2),
        squares(5, 3),
        Method("FeatureAblation of tiles", explain.occlusion, tiles, grid, SINGLE),
        Method("LayerFeatureAblation of maps", explain.map_effects, maps, layer, SINGLE),
    ]


def epsilon_table(rule: Any = Epsilon(STABILIZER)) -> Table:  # noqa: B008 - a frozen value
    """Return the table by which Captum goes: `rule` for layers with weights, epsilon for all others that sum."""
    return composite(
        (Trait.WEIGHTED, rule),
        (BatchNorm, Epsilon(STABILIZER)),
        (Trait.SUM, Norm(STABILIZER)),
        (Trait.ACTIVATION, Pass()),
    )


def _lrp(both: Pair, make: Callable[[], Any]) -> Tensor:
    from captum.attr import LRP
    from captum.attr._utils import lrp_rules

    for module in both.module.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.rule = make()  # pyright: ignore[reportAttributeAccessIssue] - Captum's way of giving rules
        elif isinstance(module, nn.Flatten):
            module.rule = lrp_rules.EpsilonRule(STABILIZER)  # pyright: ignore[reportArgumentType] - it moves values
        elif isinstance(module, nn.ReLU6):
            module.rule = lrp_rules.IdentityRule(STABILIZER)  # pyright: ignore[reportArgumentType] - as above
    return LRP(both.module).attribute(both.x.clone(), target=both.target)


def _smooth(both: Pair, kind: str) -> Tensor:
    return torch.cat(
        [
            explain.smoothgrad(both.net, both.params, x[None], target[None], 10, 0.15, kind, seed=0)
            for x, target in zip(both.x, both.target, strict=True)
        ]
    )


def _tunnel(both: Pair, kind: str) -> Tensor:
    """Return Captum's answer for each image alone: its noise has one deviation for all, ours goes by each image."""
    from captum.attr import NoiseTunnel, Saliency

    tunnel = NoiseTunnel(Saliency(both.module))
    found = []
    for x, target in zip(both.x, both.target, strict=True):
        torch.manual_seed(0)
        deviation = 0.15 * float(x.max() - x.min())
        found.append(tunnel.attribute(x[None], kind, 10, stdevs=deviation, target=target[None], abs=False))
    return torch.cat(found)


def _last(both: Pair) -> nn.Module:
    return both.module.get_submodule(LAST[both.family.name])


def _gradcam(both: Pair, rectify: bool) -> Tensor:
    from captum.attr import LayerGradCam

    found = LayerGradCam(both.module, _last(both)).attribute(both.x, both.target, relu_attributions=rectify)
    assert isinstance(found, Tensor)
    return found
