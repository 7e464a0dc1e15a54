"""The perceptual loss beside automatic differentiation, in a step of pix2pix, and in a recipe."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from pellucid.data.source import Batch
from pellucid.errors import PellucidError
from pellucid.generators import pix2pix
from pellucid.generators.perceptual import perceptual_distance, perceptual_value, start_maps, trained_maps
from pellucid.layers import Conv2d, Mode
from pellucid.models.pyramid import pyramid
from pellucid.nested import flatten, map_tree
from tests.references import reference_forward

RNG = torch.Generator().manual_seed(3)
NET = trained_maps("airbench96")
IMAGES = [2 * torch.rand(2, 3, 16, 16, generator=RNG, dtype=torch.float64) - 1 for _ in range(2)]


MEAN, STD = (0.5, 0.25, 0.75), (0.25, 0.5, 0.125)


def drawn():
    params, _ = NET.init((3, 16, 16), torch.Generator().manual_seed(0))
    maps = map_tree(lambda leaf: 0.2 * torch.rand(leaf.shape, generator=RNG) - 0.05 * (leaf.dim() > 1), params["maps"])
    start_maps(params, maps, MEAN, STD)
    return map_tree(torch.Tensor.double, params)


def test_distance_and_gradient_are_those_of_automatic_differentiation():
    params, (made, real) = drawn(), IMAGES
    value, dmade = perceptual_distance(NET, params, made, real)
    leaf = made.clone().requires_grad_()
    mean, std = (torch.tensor(one, dtype=torch.float64).view(3, 1, 1) for one in (MEAN, STD))
    maps = [
        reference_forward(pyramid("airbench96"), params["maps"], ((one + 1) / 2 - mean) / std, Mode())
        for one in (leaf, real)
    ]
    expected = torch.stack([F.l1_loss(y, target) for y, target in zip(*maps, strict=True)]).mean()
    expected.backward()
    torch.testing.assert_close(value, expected.detach(), rtol=1e-6, atol=0)
    torch.testing.assert_close(perceptual_value(NET, params, made, real), value)
    torch.testing.assert_close(dmade, leaf.grad, rtol=1e-6, atol=1e-12)


def test_the_generator_of_pix2pix_learns_by_it_and_the_features_do_not():
    plain = replace(
        pix2pix("image", width=2, levels=2, field=1, discriminator_width=2),
        generator=Conv2d(3, 3, padding=1),
        multiple=1,
    )
    net = replace(plain, features=NET, weights=plain.weights | {"perceptual": 3.0})
    params, _ = net.init((3, 16, 16), torch.Generator().manual_seed(0))
    params = map_tree(torch.Tensor.double, params) | {"features": drawn()}
    batch, mode = Batch((IMAGES[0] + 1) / 2, (IMAGES[1] + 1) / 2), Mode(True, torch.Generator().manual_seed(1))
    before, (_, without), (losses, result) = (
        flatten(params["features"]),
        *(list(one.gradients(params, batch, mode))[1] for one in (plain, net)),
    )
    made = net.generator.forward(params["generator"], batch.images, Mode())[0]
    value, dmade = perceptual_distance(NET, params["features"], made, IMAGES[1])
    torch.testing.assert_close(losses["perceptual"], value)
    extra = 3 * torch.nn.grad.conv2d_weight(batch.images, params["generator"]["weight"].shape, dmade, padding=1)
    torch.testing.assert_close(result["generator"]["weight"], without["generator"]["weight"] + extra)
    assert "features" not in result
    assert all(torch.equal(flatten(params["features"])[path], value) for path, value in before.items())


def test_mistakes_are_reported_in_one_line():
    with pytest.raises(PellucidError, match="is for to='image'; leave it out"):
        pix2pix("colour", perceptual=1.0)
    with pytest.raises(PellucidError, match="must be 0 or more"):
        pix2pix("image", perceptual=-1.0)
