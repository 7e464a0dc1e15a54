"""Zennit's rules compared with ours, on single layers, for inputs of any sign and for positive inputs."""

import warnings
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from conformance.case import Case, relative_error
from conformance.explanations.zennit_import import zennit
from pellucid.layers import AdaptiveAvgPool2d, Add, AvgPool2d, Conv2d, ConvTranspose2d, Dense, Layer, Mode, ReLU, Tanh
from pellucid.layers.base import Params
from pellucid.rules import AlphaBeta, Deconv, Epsilon, Flat, Gamma, Guided, Norm, Pass, WSquare, ZBox, ZPlus

TOLERANCE = 1e-10
IMAGES = (2, 4, 7, 6)
# (our layer, the PyTorch module, the shape of the input)
WEIGHTED_LAYERS: tuple[tuple[Layer, nn.Module, tuple[int, ...]], ...] = (
    (Dense(5), nn.Linear(7, 5), (3, 7)),
    (Dense(5, bias=False), nn.Linear(7, 5, bias=False), (3, 7)),
    (Conv2d(6, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1), IMAGES),
    (Conv2d(6, (3, 2), stride=(2, 1), bias=False), nn.Conv2d(4, 6, (3, 2), (2, 1), bias=False), IMAGES),
    (Conv2d(4, 3, stride=1, padding=2, dilation=2, groups=4), nn.Conv2d(4, 4, 3, 1, 2, 2, 4), IMAGES),
    (Conv2d(6, 2, padding="same", groups=2), nn.Conv2d(4, 6, 2, padding="same", groups=2), IMAGES),
    (ConvTranspose2d(6, 3, stride=2, padding=1), nn.ConvTranspose2d(4, 6, 3, 2, 1), IMAGES),
    (
        ConvTranspose2d(6, 2, stride=1, padding=0, output_padding=0, dilation=2, groups=2),
        nn.ConvTranspose2d(4, 6, 2, 1, 0, 0, 2, True, 2),
        IMAGES,
    ),
)
AVERAGE_POOLS = (
    (AvgPool2d(2, 1), nn.AvgPool2d(2, 1), IMAGES),
    (AvgPool2d(3, 2, 1, count_include_pad=False), nn.AvgPool2d(3, 2, 1, count_include_pad=False), IMAGES),
    (AdaptiveAvgPool2d((3, 2)), nn.AdaptiveAvgPool2d((3, 2)), IMAGES),
)
ACTIVATIONS = ((ReLU(), nn.ReLU(), IMAGES), (Tanh(), nn.Tanh(), IMAGES))


def cases() -> Iterator[Case]:
    """Yield every rule on every layer that it supports."""
    hooks = zennit().rules
    weighted = [
        (Epsilon(), hooks.Epsilon()),
        (Epsilon(0.25), hooks.Epsilon(0.25)),
        (Epsilon(1e-6, bias=False), hooks.Epsilon(zero_params="bias")),
        (Gamma(), hooks.Gamma()),
        (Gamma(1.5, 0.01), hooks.Gamma(1.5, 0.01)),
        (Gamma(0.25, bias=False), hooks.Gamma(0.25, zero_params="bias")),
        (ZPlus(), hooks.ZPlus()),
        (ZPlus(0.1, bias=False), hooks.ZPlus(0.1, zero_params="bias")),
        (AlphaBeta(), hooks.AlphaBeta()),
        (AlphaBeta(1.0, 0.0, 0.1), hooks.AlphaBeta(1.0, 0.0, 0.1)),
        (AlphaBeta(3.0, 2.0, bias=False), hooks.AlphaBeta(3.0, 2.0, zero_params="bias")),
        (ZBox(-4.0, 5.0), hooks.ZBox(-4.0, 5.0)),
        (WSquare(bias=True), hooks.WSquare()),
        (WSquare(0.1), hooks.WSquare(0.1, zero_params="bias")),
    ]
    rows: list[tuple[Any, Any, Any]] = [(rule, hook, WEIGHTED_LAYERS) for rule, hook in weighted]
    rows += [
        (Flat(), hooks.Flat(), (*WEIGHTED_LAYERS, *AVERAGE_POOLS)),
        (Norm(), hooks.Epsilon(), WEIGHTED_LAYERS),
        (Norm(), hooks.Norm(), AVERAGE_POOLS),
        (Norm(0.1), hooks.Norm(0.1), AVERAGE_POOLS),
        (Pass(), hooks.Pass(), ACTIVATIONS),
        (Guided(), hooks.ReLUGuidedBackprop(), ACTIVATIONS[:1]),
        (Deconv(), hooks.ReLUDeconvNet(), ACTIVATIONS[:1]),
    ]
    for rule, hook, layers in rows:
        suite = f"Zennit {type(hook).__name__}"
        for sign in ("any", "positive"):
            for layer, module, shape in layers:
                check = partial(compare, rule, hook, layer, module, shape, sign)
                name = f"{rule}, {layer}, inputs of {sign} sign"
                yield Case(suite, version("zennit"), name, type(rule), check, TOLERANCE)
    check = partial(compare, Norm(), hooks.Norm(), Add(), zennit().layer.Sum(-1), (3, 5), "any")
    yield Case("Zennit Norm, Sum", version("zennit"), "two tensors", Norm, check, TOLERANCE)


def compare(rule: Any, hook: Any, layer: Layer, module: nn.Module, shape: tuple[int, ...], sign: str) -> float:
    """Return the relative error of our rule's relevance compared with that of Zennit's hook.

    The result is at least 1 if our rule absorbs relevance by other parameters than the bias.
    """
    rng = torch.Generator().manual_seed(0)
    module = module.double()
    params: Params = {}
    for name, value in module.state_dict().items():
        params[name] = torch.randn(value.shape, generator=rng, dtype=torch.float64)
    module.load_state_dict(params)
    x = torch.randn(shape, generator=rng, dtype=torch.float64)
    x = x.abs() if sign == "positive" else x
    inputs: Any = x
    if isinstance(layer, Add):
        inputs = (x, torch.randn(shape, generator=rng, dtype=torch.float64))
        x = torch.stack(inputs, -1)
    y, cache = layer.forward(params, inputs, Mode())
    relevance = torch.randn(y.shape, generator=rng, dtype=torch.float64)
    actual, absorbed = rule(layer, params, cache, relevance)
    reference = _zennit_relevance(hook, module, x, relevance)
    actual = torch.stack(actual, -1) if isinstance(actual, tuple) else actual
    return max(relative_error("relevance", actual, reference), float(len(absorbed.keys() - {"bias"})))


def _zennit_relevance(hook: Any, module: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    """Return the relevance of x that Zennit computes with `hook` on `module`."""
    composite = zennit().composites.LayerMapComposite([(type(module), hook)])
    with warnings.catch_warnings(), zennit().attribution.Gradient(module, composite) as attributor:
        warnings.simplefilter("ignore")
        return attributor(x.clone(), relevance)[1].detach()
