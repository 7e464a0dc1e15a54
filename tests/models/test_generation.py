"""Networks of generative models: published numbers of parameters, output shapes, and invalid image sizes."""

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.layers import Layer
from pellucid.models.dcgan import dcgan_discriminator, dcgan_generator
from pellucid.models.gmmn import dense_decoder, dense_encoder, gmmn_generator
from pellucid.nested import flatten
from tests.models.zoo import init_on_meta


def count_learned(net: Layer, shape: tuple[int, ...]) -> int:
    params, _ = init_on_meta(net, shape)
    return sum(leaf.numel() for path, leaf in flatten(params).items() if "running" not in path)


def test_parameters_are_those_of_the_published_networks() -> None:
    assert count_learned(dcgan_generator(), (100,)) == 3_576_704
    assert count_learned(dcgan_discriminator(), (3, 64, 64)) == 2_765_568
    assert count_learned(gmmn_generator(), (10,)) == 1_149_904
    assert count_learned(dense_encoder(), (1, 28, 28)) == 784 * 1024 + 1024 + 1024 * 32 + 32
    assert count_learned(dense_decoder(), (32,)) == 32 * 1024 + 1024 + 1024 * 784 + 784


@pytest.mark.parametrize("size", [8, 12, 20, 28, 32, 64])
@pytest.mark.parametrize("norm", [True, False])
def test_generators_and_discriminators_have_the_requested_sizes(size: int, norm: bool) -> None:
    assert init_on_meta(dcgan_generator(size, 3, 4), (7,))[1] == (3, size, size)
    assert init_on_meta(dcgan_discriminator(size, 4, norm), (3, size, size))[1] == (1,)


@pytest.mark.parametrize("size", [0, 1, 4, 7, 27, 30, 36])
def test_image_sizes_that_cannot_be_halved_to_a_small_map_are_refused(size: int) -> None:
    for make in (dcgan_generator, dcgan_discriminator):
        with pytest.raises(PellucidError, match=f"size={size} must be 4, 5, 6 or 7 times a power of 2"):
            make(size)


def test_initial_weights_have_a_standard_deviation_of_0_02() -> None:
    params, _ = dcgan_discriminator(64).init((3, 64, 64), torch.Generator().manual_seed(0))
    assert float(params["conv3"]["weight"].std()) == pytest.approx(0.02, rel=0.01)
