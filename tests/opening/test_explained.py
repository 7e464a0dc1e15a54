"""Explanations of opened networks: equal to those computed with PyTorch, or refused if a method does not apply."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from pellucid.base.errors import PellucidError
from tests.opening.networks import ConvNeXt, DeiT, ResNet, Swin, ViT
from tests.opening.test_opened import autograd_gradients, build_network, images


def open_model(kind: type[nn.Module]) -> pellucid.Model:
    return pellucid.open(build_network(kind), images(2), classes=5)


@pytest.mark.parametrize("kind", [ResNet, ViT, ConvNeXt, Swin])
def test_saliency_equals_autograd(kind: type[nn.Module]) -> None:
    x = images(2)
    dy = F.one_hot(torch.tensor([2, 2]), 5).double()
    gradient = open_model(kind).explain(x, "saliency", target=2, signed=True)
    torch.testing.assert_close(
        gradient, autograd_gradients(build_network(kind).eval(), x, dy)["input"], rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("kind", [ViT, DeiT, ConvNeXt, Swin])
@pytest.mark.parametrize("method", ["guided_backprop", "deconvnet", "guided_gradcam"])
def test_rules_are_refused_for_layers_without_one(kind: type[nn.Module], method: str) -> None:
    with pytest.raises(PellucidError, match=rf"{method} has no rule for \d+ layers? of this network, first "):
        open_model(kind).explain(images(2), method, target=1)


def test_lrp_is_refused_for_composites_without_a_rule_for_a_layer() -> None:
    with pytest.raises(PellucidError, match=r"lrp has no rule for 6 layers of this network, first .*\(LinearMap\)"):
        open_model(ViT).explain(images(2), "lrp", composite="excitation_backprop")


def cam(a: Tensor, da: Tensor) -> Tensor:
    """Return Grad-CAM (Selvaraju et al. 2017, equations 1 and 2) of maps and gradients (N, C, h, w)."""
    return F.relu((da.mean((2, 3), keepdim=True) * a).sum(1, keepdim=True)).detach()


def as_maps(tokens: Tensor) -> Tensor:
    """Return tokens (N, 16, C) of 4 x 4 patches in row-major order as maps (N, C, 4, 4)."""
    return tokens.transpose(1, 2).reshape(len(tokens), -1, 4, 4)


@pytest.mark.slow
def test_gradcam_of_a_class_token_uses_the_patch_tokens_before_the_last_attention() -> None:
    network, x, activations = build_network(ViT).eval(), images(2), list[Tensor]()
    last = network.get_submodule("blocks.1.ln_1")
    last.register_forward_hook(lambda module, args, y: activations.append(y))
    (da,) = torch.autograd.grad(network(x)[:, 3].sum(), activations[0])
    expected = cam(as_maps(activations[0][:, 1:]), as_maps(da[:, 1:]))
    for options in ({}, {"layer": "blocks.1.ln_1"}):
        explanation = open_model(ViT).explain(x, "gradcam", target=3, upsample=False, **options)
        torch.testing.assert_close(explanation, expected, rtol=1e-10, atol=1e-12)


def test_gradcam_of_a_mean_of_tokens_uses_the_tokens_of_the_last_sum() -> None:
    network, x = build_network(DeiT).eval(), images(2)
    assert isinstance(network, DeiT)
    tokens = network.patch_embed(x).flatten(2).transpose(1, 2) + network.pos_embed
    tokens = tokens + network.gamma * network.attn(network.norm(tokens))
    value, gate = network.gate(tokens).chunk(2, dim=-1)
    score = network.head((value * torch.sigmoid(gate)).mean(dim=1))[:, 3].sum()
    (da,) = torch.autograd.grad(score, tokens)
    explanation = open_model(DeiT).explain(x, "gradcam", target=3, upsample=False)
    torch.testing.assert_close(explanation, cam(as_maps(tokens), as_maps(da)), rtol=1e-10, atol=1e-12)


def test_gradcam_of_windows_uses_channels_last_maps_of_the_image() -> None:
    network, x, activations = build_network(Swin).eval(), images(2), list[Tensor]()
    network.get_submodule("norm1").register_forward_hook(lambda module, args, y: activations.append(y))
    (da,) = torch.autograd.grad(network(x)[:, 3].sum(), activations[0])
    explanation = open_model(Swin).explain(x, "gradcam", target=3, upsample=False, layer="norm1")
    expected = cam(activations[0].permute(0, 3, 1, 2), da.permute(0, 3, 1, 2))
    torch.testing.assert_close(explanation, expected, rtol=1e-10, atol=1e-12)
    assert open_model(Swin).explain(x, "gradcam", target=3).shape == (2, 1, 16, 16)


class Masked(nn.Module):
    """Tokens of patches with two masks: attention skips the next token, and a mask token replaces hidden tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.embed, self.head = nn.Conv2d(3, 3, 1), nn.Linear(48, 8), nn.Linear(8, 5)
        self.mask_token = nn.Parameter(torch.randn(8))
        self.register_buffer("next", torch.eye(16).roll(1, 1).bool())
        self.register_buffer("hidden", torch.zeros(16, 1, dtype=torch.bool))

    def tokens(self, x: Tensor) -> Tensor:
        tokens = self.embed(F.unfold(self.conv(x), 4, stride=4).transpose(1, 2))
        return torch.where(self.hidden, self.mask_token, tokens)

    def forward(self, x: Tensor) -> Tensor:
        x = self.tokens(x)
        weights = (x @ x.transpose(1, 2)).masked_fill(self.next, -torch.inf).softmax(-1)
        return self.head((x + weights @ x).mean(1))


def test_gradcam_finds_the_tokens_of_patches_through_masks() -> None:
    network, x = build_network(Masked).eval(), images(2)
    model = pellucid.open(network, x, classes=5)
    tokens = network.tokens(x)
    weights = (tokens @ tokens.mT).masked_fill(network.next, -torch.inf).softmax(-1)
    last = tokens + weights @ tokens
    (da,) = torch.autograd.grad(network.head(last.mean(1))[:, 3].sum(), last)
    explanation = model.explain(x, "gradcam", target=3, upsample=False)
    torch.testing.assert_close(explanation, cam(as_maps(last), as_maps(da)), rtol=1e-10, atol=1e-12)


class Flattened(nn.Module):
    """Each token is a full row of patches, so no token belongs to one patch."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Conv2d(3, 8, 4, 4), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.embed(x).permute(0, 2, 3, 1).flatten(2)
        return self.head(F.scaled_dot_product_attention(rows, rows, rows).mean(1))


def test_gradcam_and_rollout_are_refused_without_a_token_for_each_patch() -> None:
    with pytest.raises(PellucidError, match=r"mixes positions .* no layer has one token for each part of the image"):
        open_model(Flattened).explain(images(2), "gradcam", target=1)
    with pytest.raises(PellucidError, match="rollout needs attention among all tokens of an image; 1 layer"):
        open_model(Flattened).explain(images(2), "rollout")


@pytest.mark.slow
def test_rollout_is_the_product_of_the_attention_matrices() -> None:
    network, x = build_network(ViT).eval(), images(2)
    assert isinstance(network, ViT)
    n = len(x)
    tokens = network.conv_proj(x).reshape(n, 12, -1).permute(0, 2, 1)
    tokens = torch.cat([network.class_token.expand(n, -1, -1), tokens], dim=1) + network.pos_embedding
    product = torch.eye(17).double()
    for block in network.blocks:
        y = block.ln_1(tokens)
        _, weights = block.self_attention(y, y, y, need_weights=True, average_attn_weights=True)
        product = (weights / 2 + torch.eye(17) / 2) @ product
        tokens = block(tokens)
    expected = product[:, 0, 1:].reshape(n, 1, 4, 4).detach()
    explanation = open_model(ViT).explain(x, "rollout", upsample=False)
    torch.testing.assert_close(explanation, expected, rtol=1e-10, atol=1e-12)
    assert open_model(ViT).explain(x, "rollout").shape == (2, 1, 16, 16)


def test_rollout_without_a_class_token_is_the_mean_of_all_tokens() -> None:
    network, x, activations = build_network(DeiT).eval(), images(2), list[Tensor]()
    network.get_submodule("attn.attn_drop").register_forward_hook(lambda module, args, y: activations.append(y))
    network(x)
    expected = (activations[0].mean(1) / 2 + torch.eye(16) / 2).mean(1).reshape(2, 1, 4, 4).detach()
    explanation = open_model(DeiT).explain(x, "rollout", upsample=False)
    torch.testing.assert_close(explanation, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("kind", "message"), [(ResNet, "of which this network has none"), (Swin, "attend to windows")])
def test_rollout_is_refused_without_attention_among_all_tokens(kind: type[nn.Module], message: str) -> None:
    with pytest.raises(PellucidError, match=message):
        open_model(kind).explain(images(2), "rollout")


def test_gradcam_of_attention_weights_is_refused() -> None:
    with pytest.raises(PellucidError, match=r"'attn\.softmax' outputs no feature maps"):
        open_model(DeiT).explain(images(2), "gradcam", target=1, layer="attn.softmax")


def test_gradcam_of_a_residual_network_uses_its_last_maps() -> None:
    network, x, activations = build_network(ResNet).eval(), images(2), list[Tensor]()
    network.layer1.register_forward_hook(lambda module, args, y: activations.append(y))
    score = network(x.requires_grad_())[:, 3].sum()
    (da,) = torch.autograd.grad(score, activations[0])
    expected = F.relu((da.mean((2, 3), keepdim=True) * activations[0]).sum(1, keepdim=True)).detach()
    explanation = open_model(ResNet).explain(x.detach(), "gradcam", target=3, upsample=False)
    torch.testing.assert_close(explanation, expected, rtol=1e-10, atol=1e-12)
