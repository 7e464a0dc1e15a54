"""ConvNeXt equals functions of PyTorch differentiated by autograd, and has the published numbers."""

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.combine import Sequential
from pellucid.models import convnext_tiny
from pellucid.nested import flatten
from pellucid.network.summary import summary
from tests.models.zoo import init_on_meta
from tests.oracle import Sample, difference, forward_backward


def test_parameters_and_multiply_adds_are_the_published_ones() -> None:
    net = convnext_tiny()
    params, out = init_on_meta(net, (3, 224, 224))
    summary_ = summary(net, params, (3, 224, 224))
    assert (summary_.parameters, out) == (28_589_128, (1000,))
    assert round(summary_.multiply_adds / 1e9, 3) == 4.456  # torchvision's documentation
    assert next(row.shape for row in summary_.rows if row.path == "head.pool") == (768, 1, 1)
    shapes = {path: tuple(leaf.shape) for path, leaf in flatten(params).items()}
    assert shapes["features.stage3.block9.body.depthwise.weight"] == (384, 1, 7, 7)
    assert shapes["features.stage1.block1.body.scale.factors"] == (1, 1, 1, 96)


def channel_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.layer_norm(x.permute(0, 2, 3, 1), weight.shape, weight, bias, 1e-6)


def test_a_stem_a_block_and_a_downsampling_equal_functions_of_pytorch() -> None:
    network = convnext_tiny()
    assert isinstance(network, Sequential)
    feature_layers = network.children["features"].layers
    net = Sequential(
        stem=feature_layers["stem"], block=feature_layers["stage1"].layers["block1"], halve=feature_layers["halve2"]
    )
    sample = Sample(net, (3, 16, 16))
    params, x = sample.inputs(2)
    y, dy, dx, dparams = forward_backward(net, params, x, sample.mode())
    leaves = {path: leaf.clone().requires_grad_() for path, leaf in flatten(params).items()}
    x = x.clone().requires_grad_()

    def affine(path: str) -> tuple[Tensor, Tensor]:
        return leaves[f"{path}.weight"], leaves[f"{path}.bias"]

    maps = channel_norm(F.conv2d(x, *affine("stem.conv"), stride=4), *affine("stem.norm")).permute(0, 3, 1, 2)
    body = F.conv2d(maps, *affine("block.body.depthwise"), padding=3, groups=96)
    body = F.gelu(F.linear(channel_norm(body, *affine("block.body.norm")), *affine("block.body.expand")))
    body = leaves["block.body.scale.factors"] * F.linear(body, *affine("block.body.project"))
    maps = channel_norm(maps + body.permute(0, 3, 1, 2), *affine("halve.norm")).permute(0, 3, 1, 2)
    expected = F.conv2d(maps, *affine("halve.conv"), stride=2)
    expected.backward(dy)
    assert difference(y, expected.detach()) < 1e-12
    assert difference(dx[""], x.grad) < 1e-10
    for path, leaf in dparams.items():
        assert difference(leaf, leaves[path.rstrip(".")].grad) < 1e-10, path
    assert len(dparams) == len(leaves)


def test_new_blocks_have_a_layer_scale_near_zero() -> None:
    params, _ = convnext_tiny(2).init((3, 64, 64), torch.Generator().manual_seed(0))
    assert torch.equal(flatten(params)["features.stage4.block3.body.scale.factors"], torch.full((1, 1, 1, 768), 1e-6))
