"""Explanations of opened networks: equal to PyTorch's, or refused where a method has no meaning."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from pellucid.errors import PellucidError
from tests.opening.networks import ConvNeXt, DeiT, ResNet, Swin, ViT
from tests.opening.test_opened import autograd, images, made


def opened(kind: type[nn.Module]) -> pellucid.Model:
    return pellucid.open(made(kind), images(2), classes=5)


@pytest.mark.parametrize("kind", [ResNet, ViT, ConvNeXt, Swin])
def test_saliency_equals_autograd(kind: type[nn.Module]) -> None:
    x = images(2)
    dy = F.one_hot(torch.tensor([2, 2]), 5).double()
    gradient = opened(kind).explain(x, "saliency", target=2, signed=True)
    torch.testing.assert_close(gradient, autograd(made(kind).eval(), x, dy)["input"], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", [ViT, DeiT, ConvNeXt, Swin])
@pytest.mark.parametrize("method", ["guided_backprop", "deconvnet"])
def test_rules_are_refused_for_layers_without_one(kind: type[nn.Module], method: str) -> None:
    with pytest.raises(PellucidError, match=rf"{method} has no rule for \d+ layers? of this network, first "):
        opened(kind).explain(images(2), method, target=1)


def test_lrp_is_refused_by_name_for_composites_without_the_rules() -> None:
    with pytest.raises(PellucidError, match=r"lrp has no rule for 6 layers of this network, first .*\(LinearMap\)"):
        opened(ViT).explain(images(2), "lrp", composite="excitation_backprop")


@pytest.mark.parametrize("kind", [ViT, DeiT, Swin])
def test_gradcam_is_refused_after_attention(kind: type[nn.Module]) -> None:
    with pytest.raises(PellucidError, match="the network mixes positions"):
        opened(kind).explain(images(2), "gradcam", target=1)


def test_gradcam_takes_no_heads_of_attention_for_maps() -> None:
    with pytest.raises(PellucidError, match=r"'attn\.softmax' outputs no feature maps"):
        opened(DeiT).explain(images(2), "gradcam", target=1, layer="attn.softmax")


def test_gradcam_of_a_residual_network_is_that_of_its_last_maps() -> None:
    network, x, kept = made(ResNet).eval(), images(2), list[Tensor]()
    network.layer1.register_forward_hook(lambda module, args, y: kept.append(y))
    score = network(x.requires_grad_())[:, 3].sum()
    (da,) = torch.autograd.grad(score, kept[0])
    expected = F.relu((da.mean((2, 3), keepdim=True) * kept[0]).sum(1, keepdim=True)).detach()
    found = opened(ResNet).explain(x.detach(), "gradcam", target=3, upsample=False)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
