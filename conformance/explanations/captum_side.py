"""Captum's methods compared with ours."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from conformance.case import Case, SkipCase, relative_error
from conformance.explanations.joined import BRANCHED_FAMILIES, DENSENET
from conformance.explanations.networks import FAMILIES, MOBILENET, SHAPE, Family, Pair, draw_pair
from pellucid import explain
from pellucid.explain.sweeps import backward_by_composite
from pellucid.layers import BatchNorm, ReLU
from pellucid.layers.base import Trait
from pellucid.rules import Deconv, Epsilon, Gamma, Guided, Norm, Pass, Rules, Table, ZPlus, composite

FLOAT32_TOLERANCE = 1e-5  # of methods that Captum computes in float32, for example the steps of integrated gradients
FLOAT64_TOLERANCE = 1e-9
STABILIZER = 1e-9  # Captum's default
# Path of the layer whose feature maps Grad-CAM weighs, by family; it is the same in both networks.
GRADCAM_PATHS = {
    "VGG-like": "relu3",
    "ResNet-like": "relu2",
    "MobileNet-like": "last_relu",
    "GoogLeNet-like": "last_relu",
    "DenseNet-like": "last_relu",
}
MAX_POOLED = ("VGG-like", "ResNet-like", "GoogLeNet-like")  # families with max pooling after rectifiers


@dataclass(frozen=True)
class Method:
    """One method of both: `attribute` (ours) and `reference` (Captum's) return the attribution for a Pair."""

    name: str
    subject: Any
    attribute: Callable[[Pair], Tensor]
    reference: Callable[[Pair], Tensor]
    tolerance: float = FLOAT64_TOLERANCE
    unsupported: Mapping[str, str] = field(default_factory=dict)  # reasons by family name


def captum_sum() -> nn.Module:
    """Return Captum's module that adds its two inputs."""
    from captum.attr._utils.custom_modules import Addition_Module

    return Addition_Module()


def cases() -> Iterator[Case]:
    """Yield every method on every family of networks, with three draws of the weights each."""
    for method in methods():
        for family in (*FAMILIES, *BRANCHED_FAMILIES):
            for seed in range(3):
                check = partial(compare, method, family, seed)
                suite = f"Captum {method.name}, {family}"
                yield Case(suite, version("captum"), f"weights {seed}", method.subject, check, method.tolerance)


def compare(method: Method, family: Family, seed: int) -> float:
    """Return the relative error of our attribution; raise SkipCase for a family that Captum does not support."""
    if family.name in method.unsupported:
        raise SkipCase(method.unsupported[family.name])
    pair = draw_pair(family, captum_sum, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = method.reference(pair).detach()
    return relative_error("attribution", method.attribute(pair), reference)


def methods() -> list[Method]:
    """Return the methods that both Captum and Pellucid have."""
    from captum import attr
    from captum.attr._utils import lrp_rules

    def by_captum(kind: Any, **options: Any) -> Callable[[Pair], Tensor]:
        return lambda pair: kind(pair.module).attribute(pair.x.clone(), target=pair.target, **options)

    def by_pellucid(method: Callable[..., Tensor], **options: Any) -> Callable[[Pair], Tensor]:
        return lambda pair: method(pair.net, pair.params, pair.x, pair.target, **options)

    def by_rules(rules: Rules) -> Callable[[Pair], Tensor]:
        return lambda pair: backward_by_composite(pair.net, pair.params, pair.x, pair.target, lambda entrance: rules)

    result = [
        Method("Saliency", explain.saliency, by_pellucid(explain.saliency), by_captum(attr.Saliency)),
        Method(
            "Saliency abs=False",
            explain.saliency,
            by_pellucid(explain.saliency, signed=True),
            by_captum(attr.Saliency, abs=False),
        ),
        Method(
            "InputXGradient",
            explain.input_x_gradient,
            by_pellucid(explain.input_x_gradient),
            by_captum(attr.InputXGradient),
        ),
        # GuidedBackprop and Deconvolution of Captum change the gradient of nn.ReLU, but not that of nn.ReLU6.
        Method("GuidedBackprop", Guided, by_rules(composite((ReLU, Guided()))), by_captum(attr.GuidedBackprop)),
        Method("Deconvolution", Deconv, by_rules(composite((ReLU, Deconv()))), by_captum(attr.Deconvolution)),
    ]
    quadratures = {
        "gausslegendre": "gauss_legendre",
        "riemann_left": "left",
        "riemann_right": "right",
        "riemann_middle": "middle",
    }
    for captum_name, name in quadratures.items():
        attribute = by_pellucid(explain.integrated_gradients, steps=20, quadrature=name, baseline=0.2)
        reference = by_captum(attr.IntegratedGradients, n_steps=20, method=captum_name, baselines=0.2)
        result.append(
            Method(
                f"IntegratedGradients {captum_name}",
                explain.integrated_gradients,
                attribute,
                reference,
                FLOAT32_TOLERANCE,
            )
        )
    # Captum's weights of the trapezoid rule add up to (n - 1) / n, so its result is multiplied by n / (n - 1).
    attribute = by_pellucid(explain.integrated_gradients, steps=20, quadrature="trapezoid")
    reference = by_captum(attr.IntegratedGradients, n_steps=20, method="riemann_trapezoid")
    result.append(
        Method(
            "IntegratedGradients riemann_trapezoid x 20/19",
            explain.integrated_gradients,
            attribute,
            lambda pair: reference(pair) * 20 / 19,
            FLOAT32_TOLERANCE,
        )
    )
    result += [
        Method(
            f"NoiseTunnel {captum_name}",
            explain.smoothgrad,
            partial(_smoothgrad, kind=kind),
            partial(_noise_tunnel, kind=captum_name),
            FLOAT32_TOLERANCE,
        )
        for captum_name, kind in (("smoothgrad", "mean"), ("smoothgrad_sq", "square"), ("vargrad", "variance"))
    ]
    result.append(
        Method(
            "DeepLift",
            explain.deeplift,
            by_pellucid(explain.deeplift, baseline=0.2),
            by_captum(attr.DeepLift, baselines=0.2),
            unsupported={
                MOBILENET.name: "Captum has a rule for nn.ReLU, not for nn.ReLU6",
                # by Captum's own convergence_delta
                **dict.fromkeys(MAX_POOLED, "Captum's does not add up beside max pooling and nn.ReLU"),
            },
        )
    )
    for signed in (True, False):
        result.append(
            Method(
                f"LayerGradCam relu_attributions={not signed}",
                explain.gradcam,
                by_pellucid(explain.gradcam, signed=signed, upsample=False),
                partial(_gradcam, rectify=not signed),
            )
        )
    result.append(
        Method(
            "GuidedGradCam",
            explain.guided_gradcam,
            by_pellucid(explain.guided_gradcam),
            lambda pair: attr.GuidedGradCam(pair.module, _last_map_layer(pair)).attribute(
                pair.x, pair.target, interpolate_mode="bilinear"
            ),
            unsupported={MOBILENET.name: "Captum guides nn.ReLU only, not nn.ReLU6"},
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
    for name, (subject, rule, make_rule) in rules.items():
        unsupported = {
            DENSENET.name: "Captum's differs from Zennit's and ours where torch.cat joins an input to its map"
        }
        if subject is ZPlus:
            unsupported[MOBILENET.name] = "inputs below 0, which Captum's rule is not for"
        table = epsilon_table(rule)
        attribute = by_pellucid(explain.lrp, composite=table, folded=False)
        result.append(
            Method(
                f"LRP {name}", subject, attribute, partial(_lrp, make_rule=make_rule), FLOAT32_TOLERANCE, unsupported
            )
        )
    return [*result, *_occlusion_methods()]


def _occlusion_methods() -> list[Method]:
    """Return the methods that replace parts of the image, or feature maps of a layer, by a constant."""
    from captum import attr

    def occlusion_method(side: int, step: int) -> Method:
        def by_captum(pair: Pair) -> Tensor:
            channels = pair.x.shape[1]
            attribution = attr.Occlusion(pair.module).attribute(
                pair.x, (channels, side, side), (channels, step, step), baselines=0.3, target=pair.target
            )
            return attribution[:, :1].double()  # equal in all channels, and float32

        def by_pellucid(pair: Pair) -> Tensor:
            return explain.occlusion(pair.net, pair.params, pair.x, pair.target, side, step, 0.3)

        return Method(f"Occlusion {side} by {step}", explain.occlusion, by_pellucid, by_captum, FLOAT32_TOLERANCE)

    def captum_tiles(pair: Pair) -> Tensor:
        rows = torch.arange(SHAPE[1]) // 4
        mask = (4 * rows[:, None] + rows).expand(1, *pair.x.shape[1:])
        return attr.FeatureAblation(pair.module).attribute(pair.x, 0.3, pair.target, feature_mask=mask)[:, :1]

    def pellucid_tiles(pair: Pair) -> Tensor:
        return explain.occlusion(pair.net, pair.params, pair.x, pair.target, 4, 4, 0.3)

    def pellucid_map_effects(pair: Pair) -> Tensor:
        path = GRADCAM_PATHS[pair.family.name]
        return explain.map_effects(pair.net, pair.params, pair.x, pair.target, path, 0.2)

    def captum_map_effects(pair: Pair) -> Tensor:
        ablation = attr.LayerFeatureAblation(pair.module, _last_map_layer(pair))
        count = pellucid_map_effects(pair).shape[1]
        attribution = ablation.attribute(pair.x, 0.2, pair.target, layer_mask=torch.arange(count).view(1, count, 1, 1))
        assert isinstance(attribution, Tensor)
        return attribution[:, :, 0, 0]

    return [
        occlusion_method(4, 2),
        occlusion_method(5, 3),
        Method("FeatureAblation of tiles", explain.occlusion, pellucid_tiles, captum_tiles, FLOAT32_TOLERANCE),
        Method(
            "LayerFeatureAblation of maps",
            explain.map_effects,
            pellucid_map_effects,
            captum_map_effects,
            FLOAT32_TOLERANCE,
        ),
    ]


def epsilon_table(rule: Any = Epsilon(STABILIZER)) -> Table:  # noqa: B008 - a frozen value
    """Return the table with Captum's assignment: `rule` for layers with weights, epsilon for all others that sum."""
    return composite(
        (Trait.WEIGHTED, rule),
        (BatchNorm, Epsilon(STABILIZER)),
        (Trait.ADDITIVE, Norm(STABILIZER)),
        (Trait.ACTIVATION, Pass()),
    )


def _lrp(pair: Pair, make_rule: Callable[[], Any]) -> Tensor:
    from captum.attr import LRP
    from captum.attr._utils import lrp_rules

    for module in pair.module.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.rule = make_rule()  # pyright: ignore[reportAttributeAccessIssue] - Captum reads the rule from this attribute
        elif isinstance(module, nn.Flatten):
            module.rule = lrp_rules.EpsilonRule(STABILIZER)  # pyright: ignore[reportArgumentType] - only moves values
        elif isinstance(module, nn.ReLU6):
            module.rule = lrp_rules.IdentityRule(STABILIZER)  # pyright: ignore[reportArgumentType] - as above
    return LRP(pair.module).attribute(pair.x.clone(), target=pair.target)


def _smoothgrad(pair: Pair, kind: str) -> Tensor:
    return torch.cat(
        [
            explain.smoothgrad(pair.net, pair.params, x[None], target[None], 10, 0.15, kind, seed=0)
            for x, target in zip(pair.x, pair.target, strict=True)
        ]
    )


def _noise_tunnel(pair: Pair, kind: str) -> Tensor:
    """Return Captum's attribution, computed image by image.

    Captum's noise has one standard deviation for a whole batch; ours depends on the range of each image.
    """
    from captum.attr import NoiseTunnel, Saliency

    tunnel = NoiseTunnel(Saliency(pair.module))
    attributions = []
    for x, target in zip(pair.x, pair.target, strict=True):
        torch.manual_seed(0)
        deviation = 0.15 * float(x.max() - x.min())
        attributions.append(tunnel.attribute(x[None], kind, 10, stdevs=deviation, target=target[None], abs=False))
    return torch.cat(attributions)


def _last_map_layer(pair: Pair) -> nn.Module:
    return pair.module.get_submodule(GRADCAM_PATHS[pair.family.name])


def _gradcam(pair: Pair, rectify: bool) -> Tensor:
    from captum.attr import LayerGradCam

    attribution = LayerGradCam(pair.module, _last_map_layer(pair)).attribute(
        pair.x, pair.target, relu_attributions=rectify
    )
    assert isinstance(attribution, Tensor)
    return attribution
