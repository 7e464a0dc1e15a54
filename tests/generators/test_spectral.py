"""Spectral normalization compared with PyTorch's singular values, and its gradients with autograd's."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.combine.nets import named_layers
from pellucid.generators import GAN
from pellucid.generators.spectral import largest_singular_triplet, normalized_weights, unnormalized_gradients
from pellucid.layers import BatchNorm, Mode
from pellucid.layers.base import Params
from pellucid.models.dcgan import dcgan_discriminator, dcgan_generator
from pellucid.nested import flatten, map_tree
from pellucid.recipe.recipe import load_recipe
from tests.generators.small import LATENT, assert_equal, forward, gradients_of, random_params_and_batch


@pytest.mark.parametrize("shape", [(3, 7), (7, 3), (1, 5), (4, 4)])
def test_the_largest_singular_value_is_that_of_the_svd(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    result = largest_singular_triplet(matrix)
    assert result.value == pytest.approx(float(torch.linalg.svdvals(matrix)[0]))
    torch.testing.assert_close(matrix @ result.right, result.value * result.left)
    torch.testing.assert_close(matrix.t() @ result.left, result.value * result.right)


def divide_by_spectral_norm(params: Params) -> Params:
    """Return the parameters with weights divided by their spectral norms, which PyTorch can differentiate."""
    return {
        name: divide_by_spectral_norm(value) if isinstance(value, dict)
        else value / torch.linalg.matrix_norm(value.flatten(1), 2) if name == "weight" and value.dim() > 1 else value
        for name, value in params.items()
    }  # fmt: skip


def test_recipes_can_replace_batch_by_spectral_normalization() -> None:
    without_spectral, with_spectral = (
        load_recipe("mnist-dcgan", {"objective.spectral": spectral}).build("objective") for spectral in (False, True)
    )
    assert (without_spectral.spectral, with_spectral.spectral) == (False, True)
    batch_norm_counts = [
        sum(isinstance(layer, BatchNorm) for _, layer in named_layers(gan.nets))
        for gan in (without_spectral, with_spectral)
    ]
    assert batch_norm_counts[0] > batch_norm_counts[1] > 0  # those of the generator remain


def test_normalized_weights_have_the_spectral_norm_1_and_biases_are_unchanged() -> None:
    params, _ = dcgan_discriminator(8, 3).init((1, 8, 8), torch.Generator().manual_seed(0))
    new_params, _ = normalized_weights(params)
    for path, leaf in flatten(new_params).items():
        if leaf.dim() > 1:
            assert float(torch.linalg.matrix_norm(leaf.flatten(1), 2)) == pytest.approx(1, rel=1e-5)
        else:
            assert leaf is flatten(params)[path]


def test_weights_of_zero_stay_zero() -> None:
    params = {"dense": {"weight": torch.zeros(3, 4), "bias": torch.ones(3)}}
    new_params, triplets = normalized_weights(params)
    assert not bool(new_params["dense"]["weight"].any())
    gradient = {"dense": {"weight": torch.ones(3, 4)}}
    assert bool((unnormalized_gradients(gradient, new_params, triplets)["dense"]["weight"] == 1).all())


def test_gradients_of_a_gan_with_spectral_normalization_equal_autograd() -> None:
    discriminator = dcgan_discriminator(8, 4, norm=False)
    gan = GAN(dcgan_generator(8, 1, 4), LATENT, discriminator, loss="hinge", spectral=True)
    params, batch = random_params_and_batch(gan)
    z = torch.randn(6, LATENT, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    images = 2 * batch.images - 1

    def discriminator_loss(p: Params) -> Tensor:
        discriminator_params = divide_by_spectral_norm(p["discriminator"])
        fake = forward(gan.generator, p["generator"], z).detach()
        real, fake = (forward(discriminator, discriminator_params, x) for x in (images, fake))
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()

    def generator_loss(p: Params) -> Tensor:
        fake = forward(gan.generator, p["generator"], z)
        return -forward(discriminator, divide_by_spectral_norm(p["discriminator"]), fake).mean()

    initial_params = map_tree(torch.clone, params)
    turns = iter(gan.gradients(params, batch, Mode(True, torch.Generator().manual_seed(5))))
    for loss, net in ((discriminator_loss, "discriminator"), (generator_loss, "generator")):
        value, expected = gradients_of(loss, initial_params, net)
        losses, dparams = next(turns)
        assert torch.isclose(losses[net], value)
        assert_equal(dparams, expected)
