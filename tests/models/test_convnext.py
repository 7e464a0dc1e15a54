"""ConvNeXt: against functions of PyTorch differentiated by autograd, and the published numbers."""

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.combine import Sequential
from pellucid.models import convnext_tiny
from pellucid.nested import flatten
from pellucid.network.summary import summary
from tests.models.zoo import meta
from tests.oracle import Sample, difference, ours


def test_the_numbers_are_the_published_ones() -> None:
    net = convnext_tiny()
    params, out = meta(net, (3, 224, 224))
    table = summary(net, params, (3, 224, 224))
    assert (table.parameters, out) == (28_589_128, (1000,))
    assert round(table.multiply_adds / 1e9, 3) == 4.456  # torchvision's documentation
    assert next(row.shape for row in table.rows if row.path == "head.pool") == (768, 1, 1)
    shapes = {path: tuple(one.shape) for path, one in flatten(params).items()}
    assert shapes["features.stage3.block9.body.depthwise.weight"] == (384, 1, 7, 7)
    assert shapes["features.stage1.block1.body.scale.factors"] == (1, 1, 1, 96)


def normalized(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.layer_norm(x.permute(0, 2, 3, 1), weight.shape, weight, bias, 1e-6)


def test_a_stem_a_block_and_a_halving_equal_functions_of_pytorch() -> None:
    whole = convnext_tiny()
    assert isinstance(whole, Sequential)
    parts = whole.children["features"].layers
    net = Sequential(stem=parts["stem"], block=parts["stage1"].layers["block1"], halve=parts["halve2"])
    sample = Sample(net, (3, 16, 16))
    params, x = sample.inputs(2)
    y, dy, dx, dparams = ours(net, params, x, sample.mode())
    own = {path: one.clone().requires_grad_() for path, one in flatten(params).items()}
    x = x.clone().requires_grad_()

    def layer(path: str) -> tuple[Tensor, Tensor]:
        return own[f"{path}.weight"], own[f"{path}.bias"]

    maps = normalized(F.conv2d(x, *layer("stem.conv"), stride=4), *layer("stem.norm")).permute(0, 3, 1, 2)
    inner = F.conv2d(maps, *layer("block.body.depthwise"), padding=3, groups=96)
    inner = F.gelu(F.linear(normalized(inner, *layer("block.body.norm")), *layer("block.body.expand")))
    inner = own["block.body.scale.factors"] * F.linear(inner, *layer("block.body.project"))
    maps = normalized(maps + inner.permute(0, 3, 1, 2), *layer("halve.norm")).permute(0, 3, 1, 2)
    expected = F.conv2d(maps, *layer("halve.conv"), stride=2)
    expected.backward(dy)
    assert difference(y, expected.detach()) < 1e-12
    assert difference(dx[""], x.grad) < 1e-10
    for path, one in dparams.items():
        assert difference(one, own[path.rstrip(".")].grad) < 1e-10, path
    assert len(dparams) == len(own)


def test_new_blocks_pass_their_input_on() -> None:
    params, _ = convnext_tiny(2).init((3, 64, 64), torch.Generator().manual_seed(0))
    assert torch.equal(flatten(params)["features.stage4.block3.body.scale.factors"], torch.full((1, 1, 1, 768), 1e-6))
