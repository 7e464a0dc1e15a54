"""The perceptual loss: compared with autograd, in a step of pix2pix, and invalid arguments."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.data.source import Batch
from pellucid.generators import pix2pix
from pellucid.generators.perceptual import copy_trained_weights, feature_network, perceptual_distance, perceptual_value
from pellucid.layers import Conv2d, Mode
from pellucid.models.pyramid import pyramid
from pellucid.nested import flatten, map_tree
from tests.references import reference_forward

RNG = torch.Generator().manual_seed(3)
NET = feature_network("airbench96")
IMAGES = [2 * torch.rand(2, 3, 16, 16, generator=RNG, dtype=torch.float64) - 1 for _ in range(2)]


MEAN, STD = (0.5, 0.25, 0.75), (0.25, 0.5, 0.125)


def random_feature_params():
    params, _ = NET.init((3, 16, 16), torch.Generator().manual_seed(0))
    maps = map_tree(lambda leaf: 0.2 * torch.rand(leaf.shape, generator=RNG) - 0.05 * (leaf.dim() > 1), params["maps"])
    copy_trained_weights(params, maps, MEAN, STD)
    return map_tree(torch.Tensor.double, params)


def test_distance_and_gradient_are_those_of_automatic_differentiation():
    params, (generated, real) = random_feature_params(), IMAGES
    value, dgenerated = perceptual_distance(NET, params, generated, real)
    generated_copy = generated.clone().requires_grad_()
    mean, std = (torch.tensor(one, dtype=torch.float64).view(3, 1, 1) for one in (MEAN, STD))
    maps = [
        reference_forward(pyramid("airbench96"), params["maps"], ((one + 1) / 2 - mean) / std, Mode())
        for one in (generated_copy, real)
    ]
    expected = torch.stack([F.l1_loss(y, target) for y, target in zip(*maps, strict=True)]).mean()
    expected.backward()
    torch.testing.assert_close(value, expected.detach(), rtol=1e-6, atol=0)
    torch.testing.assert_close(perceptual_value(NET, params, generated, real), value)
    torch.testing.assert_close(dgenerated, generated_copy.grad, rtol=1e-6, atol=1e-12)


def test_the_perceptual_loss_updates_the_generator_of_pix2pix_and_not_the_features():
    without_perceptual = replace(
        pix2pix("image", width=2, levels=2, field=1, discriminator_width=2),
        generator=Conv2d(3, 3, padding=1),
        multiple=1,
    )
    with_perceptual = replace(
        without_perceptual, features=NET, weights=without_perceptual.weights | {"perceptual": 3.0}
    )
    params, _ = with_perceptual.init((3, 16, 16), torch.Generator().manual_seed(0))
    params = map_tree(torch.Tensor.double, params) | {"features": random_feature_params()}
    batch, mode = Batch((IMAGES[0] + 1) / 2, (IMAGES[1] + 1) / 2), Mode(True, torch.Generator().manual_seed(1))
    initial_features, (_, dparams_without), (losses, dparams_with) = (
        flatten(params["features"]),
        *(list(objective.gradients(params, batch, mode))[1] for objective in (without_perceptual, with_perceptual)),
    )
    generated = with_perceptual.generator.forward(params["generator"], batch.images, Mode())[0]
    value, dgenerated = perceptual_distance(NET, params["features"], generated, IMAGES[1])
    torch.testing.assert_close(losses["perceptual"], value)
    added_gradient = 3 * torch.nn.grad.conv2d_weight(
        batch.images, params["generator"]["weight"].shape, dgenerated, padding=1
    )
    torch.testing.assert_close(
        dparams_with["generator"]["weight"], dparams_without["generator"]["weight"] + added_gradient
    )
    assert "features" not in dparams_with
    assert all(torch.equal(flatten(params["features"])[path], value) for path, value in initial_features.items())


def test_perceptual_losses_of_colours_and_negative_weights_are_refused():
    with pytest.raises(PellucidError, match="is for to='image'; leave it out"):
        pix2pix("colour", perceptual=1.0)
    with pytest.raises(PellucidError, match="must be 0 or more"):
        pix2pix("image", perceptual=-1.0)
