"""Spectral normalization beside PyTorch's singular values, and its gradients beside autograd's."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.combine.nets import named_layers
from pellucid.generators import GAN
from pellucid.generators.spectral import largest, normalized, restored
from pellucid.layers import BatchNorm, Mode
from pellucid.layers.base import Params
from pellucid.models.dcgan import dcgan_discriminator, dcgan_generator
from pellucid.nested import flatten, map_tree
from pellucid.recipe.recipe import load_recipe
from tests.generators.small import LATENT, assert_equal, gradients_of, initialized, run


@pytest.mark.parametrize("shape", [(3, 7), (7, 3), (1, 5), (4, 4)])
def test_the_largest_singular_value_is_that_of_the_svd(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    result = largest(matrix)
    assert result.value == pytest.approx(float(torch.linalg.svdvals(matrix)[0]))
    torch.testing.assert_close(matrix @ result.right, result.value * result.left)
    torch.testing.assert_close(matrix.t() @ result.left, result.value * result.right)


def divided(params: Params) -> Params:
    """The weights over their largest singular value, which PyTorch differentiates."""
    return {
        name: divided(value) if isinstance(value, dict)
        else value / torch.linalg.matrix_norm(value.flatten(1), 2) if name == "weight" and value.dim() > 1 else value
        for name, value in params.items()
    }  # fmt: skip


def test_recipes_can_ask_for_it_in_place_of_batch_normalization() -> None:
    plain, other = (load_recipe("mnist-dcgan", {"objective.spectral": on}).build("objective") for on in (False, True))
    assert (plain.spectral, other.spectral) == (False, True)
    norms = [sum(isinstance(layer, BatchNorm) for _, layer in named_layers(one.nets)) for one in (plain, other)]
    assert norms[0] > norms[1] > 0  # the generator's are left


def test_normalized_weights_have_the_spectral_norm_1_and_the_others_stay() -> None:
    params, _ = dcgan_discriminator(8, 3).init((1, 8, 8), torch.Generator().manual_seed(0))
    new, _ = normalized(params)
    for path, leaf in flatten(new).items():
        if leaf.dim() > 1:
            assert float(torch.linalg.matrix_norm(leaf.flatten(1), 2)) == pytest.approx(1, rel=1e-5)
        else:
            assert leaf is flatten(params)[path]


def test_weights_of_zero_stay_zero() -> None:
    params = {"dense": {"weight": torch.zeros(3, 4), "bias": torch.ones(3)}}
    new, result = normalized(params)
    assert not bool(new["dense"]["weight"].any())
    gradient = {"dense": {"weight": torch.ones(3, 4)}}
    assert bool((restored(gradient, new, result)["dense"]["weight"] == 1).all())


def test_both_turns_of_a_gan_have_autograds_gradients() -> None:
    discriminator = dcgan_discriminator(8, 4, norm=False)
    gan = GAN(dcgan_generator(8, 1, 4), LATENT, discriminator, loss="hinge", spectral=True)
    params, batch = initialized(gan)
    z = torch.randn(6, LATENT, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    images = 2 * batch.images - 1

    def judged(p: Params) -> Tensor:
        judge, fake = divided(p["discriminator"]), run(gan.generator, p["generator"], z).detach()
        real, fake = (run(discriminator, judge, one) for one in (images, fake))
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()

    def fooled(p: Params) -> Tensor:
        return -run(discriminator, divided(p["discriminator"]), run(gan.generator, p["generator"], z)).mean()

    start = map_tree(torch.clone, params)
    turns = iter(gan.gradients(params, batch, Mode(True, torch.Generator().manual_seed(5))))
    for loss, net in ((judged, "discriminator"), (fooled, "generator")):
        value, expected = gradients_of(loss, start, net)
        losses, dparams = next(turns)
        assert torch.isclose(losses[net], value)
        assert_equal(dparams, expected)
