"""Small generators of 8 x 8 images, and the gradients of plain PyTorch losses."""

from collections.abc import Callable

import torch
from torch import Tensor

from pellucid.combine import Sequential
from pellucid.data.source import Batch
from pellucid.generators import GAN, GMMN, R1GAN, VAE, WGANGP, CodeGMMN, Generator
from pellucid.layers import Mode
from pellucid.layers.base import Params
from pellucid.models.dcgan import dcgan_discriminator, dcgan_generator
from pellucid.models.gmmn import dense_decoder, dense_encoder, gmmn_generator
from pellucid.nested import flatten, map_tree

SHAPE = (1, 8, 8)
LATENT = 3


def gan(loss: str = "non_saturating", weights: dict[str, float] | None = None) -> GAN:
    nets = dcgan_generator(8, 1, 4), LATENT, dcgan_discriminator(8, 4)
    return GAN(*nets, loss=loss, weights=weights or {})


def wgan_gp(steps: int = 2, weights: dict[str, float] | None = None) -> WGANGP:
    critic = dcgan_discriminator(8, 4, norm=False)
    return WGANGP(dcgan_generator(8, 1, 4), LATENT, critic, critic_steps=steps, weights=weights or {})


def r1_gan(weights: dict[str, float] | None = None) -> R1GAN:
    discriminator = dcgan_discriminator(8, 4, norm=False)
    return R1GAN(dcgan_generator(8, 1, 4), LATENT, discriminator, gamma=3.0, weights=weights or {})


def gmmn() -> GMMN:
    return GMMN(gmmn_generator(SHAPE, (6,)), LATENT)


def code_gmmn(noise: float = 0.0) -> CodeGMMN:
    nets = gmmn_generator((5,), (6,)), LATENT, dense_encoder(5, (7,)), dense_decoder(SHAPE, (7,))
    return CodeGMMN(*nets, noise=noise)


def vae(weights: dict[str, float] | None = None) -> VAE:
    return VAE(dense_decoder(SHAPE, (6,)), LATENT, dense_encoder(2 * LATENT, (6,)), weights=weights or {})


FAMILIES: dict[str, Callable[[], Generator]] = {
    "gan": gan,
    "wgan_gp": wgan_gp,
    "r1_gan": r1_gan,
    "gmmn": gmmn,
    "code_gmmn": code_gmmn,
    "vae": vae,
}


def random_params_and_batch(objective: Generator, count: int = 6) -> tuple[Params, Batch]:
    """Return float64 parameters, with larger convolution weights and biases than initially, and a random batch."""
    rng = torch.Generator().manual_seed(3)
    params = map_tree(Tensor.double, objective.init(SHAPE, rng)[0])
    for path, leaf in flatten(params).items():
        if leaf.dim() == 4:
            leaf.copy_(torch.randn(leaf.shape, generator=rng, dtype=leaf.dtype) * 0.3)
        elif path.endswith("bias"):
            leaf.copy_(torch.randn(leaf.shape, generator=rng, dtype=leaf.dtype) * 0.1)
    return params, Batch(torch.rand(count, *SHAPE, generator=rng, dtype=torch.float64), torch.zeros(count))


def forward(net: Sequential, params: Params, x: Tensor, train: bool = True) -> Tensor:
    """Return the output of a network, which PyTorch can differentiate."""
    return net.forward(params, x, Mode(train))[0]


def gradients_of(loss: Callable[[Params], Tensor], params: Params, *names: str) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the value of a loss, and its gradients by autograd, by path, for parameters of the networks `names`."""
    params_copy = map_tree(torch.clone, params)  # the forward pass changes running statistics
    learned = {path: leaf.requires_grad_() for path, leaf in flatten(params_copy).items() if "running" not in path}
    learned = {path: leaf for path, leaf in learned.items() if path.partition(".")[0] in names}
    value = loss(params_copy)
    gradients = torch.autograd.grad(value, list(learned.values()), allow_unused=True)
    return value.detach(), {
        path: torch.zeros_like(leaf) if gradient is None else gradient
        for (path, leaf), gradient in zip(learned.items(), gradients, strict=True)
    }


def assert_equal(dparams: Params, expected: dict[str, Tensor]) -> None:
    actual = flatten(dparams)
    assert actual.keys() == expected.keys()
    for path, gradient in expected.items():
        torch.testing.assert_close(actual[path], gradient, rtol=1e-9, atol=1e-12)
