"""Samples for tests of export: every layer and combinator, and the networks of MODELS with few filters."""

from typing import Any

import torch
from torch import Tensor

from pellucid.layers import Layer, Mode, RoIAlign, RoIPool
from pellucid.models import MODELS
from pellucid.nested import flatten
from tests.combine.samples import NETWORKS
from tests.layers.samples import SAMPLES
from tests.models.zoo import VARIANTS, ZOO, thin_network
from tests.oracle import Sample, cast
from tests.references import reference_forward

ROI_LAYERS = (RoIAlign, RoIPool)  # of two-stage detectors, which are not exported
ALL_SAMPLES = {
    f"{number} {sample}": sample for number, sample in enumerate(SAMPLES) if not isinstance(sample.layer, ROI_LAYERS)
} | NETWORKS


def draw_sample(sample: Sample) -> tuple[dict[str, Any], tuple[Tensor, ...], list[Tensor]]:
    """Return a sample's float32 parameters and inputs, and the float64 outputs of PyTorch's own functions."""
    params, x = sample.inputs()
    expected_outputs = reference_forward(sample.layer, params, x, Mode())
    params, x = cast(params, torch.float32), cast(x, torch.float32)
    return params, x if isinstance(x, tuple) else (x,), flat_list(expected_outputs)


def flat_list(y: Any) -> list[Tensor]:
    """Return the tensors of nested tuples as a flat list."""
    return [leaf for part in y for leaf in flat_list(part)] if isinstance(y, tuple) else [y]


def zoo() -> dict[str, tuple[Layer, tuple[int, ...]]]:
    """Return every network of MODELS, large ones with 1/16 of their filters, and its input shape."""
    networks: dict[str, tuple[Layer, tuple[int, ...]]] = {
        str(one): (thin_network(one.build(), 1 if one.side == 32 else 16), (3, one.side, one.side)) for one in ZOO
    }
    networks |= {
        f"{name} {options}": (thin_network(MODELS[name](**options), 16), (3, side, side))
        for name, options, side in VARIANTS
    }
    networks["mlp"] = (MODELS["mlp"]((784, 30, 10)), (1, 28, 28))
    networks["lenet"] = (MODELS["lenet"](), (1, 28, 28))
    networks |= {name: (MODELS[name](5, "airbench96"), (3, 33, 47)) for name in ("fcn8", "fcn16", "fcn32")}
    networks["unet"] = (MODELS["unet"](5, 4, norm=True), (3, 33, 47))
    networks["regressor"] = (MODELS["regressor"]("airbench96", 2, (3.0, -1.0), (2.0, 0.5)), (3, 32, 32))
    networks["transfer"] = (MODELS["transfer"]("airbench96", 5, (8,)), (3, 32, 32))
    networks["unet_generator"] = (MODELS["unet_generator"](2, 4, 4), (1, 32, 48))
    networks["resnet_generator"] = (MODELS["resnet_generator"](2, 4, 2, "batch"), (3, 32, 20))
    networks["vit"] = (MODELS["vit"](5, 12, 4, 8, 2, 2), (3, 12, 12))
    networks["convnext_tiny"] = (MODELS["convnext_tiny"](5), (3, 32, 32))
    networks["swin"] = (MODELS["swin"](5, 16, 2, 8, (1, 1), 2), (3, 16, 16))
    covered_names = {key.split()[0] for key in networks}
    remaining = {name: (MODELS[name](width=8), (3, 32, 32)) for name in MODELS if name not in covered_names}
    return {**networks, **remaining}


def trained_params(net: Layer, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return parameters as after training, with random running statistics and layer scales."""
    rng = torch.Generator().manual_seed(5)
    params, _ = net.init(shape, rng)
    for path, leaf in flatten(params).items():
        if path.endswith("running_mean"):
            leaf.copy_(0.1 * torch.randn(leaf.shape, generator=rng))
        if path.endswith(("running_var", "factors")):
            leaf.copy_(0.5 + torch.rand(leaf.shape, generator=rng))
    return params
