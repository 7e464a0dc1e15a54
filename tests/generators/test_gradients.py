"""Losses and gradients in each turn of each family, compared with plain PyTorch and autograd for the same noise."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.data import Batch
from pellucid.layers import Mode
from pellucid.layers.base import Params
from tests.generators.small import (
    LATENT,
    assert_equal,
    code_gmmn,
    forward,
    gan,
    gmmn,
    gradients_of,
    r1_gan,
    random_params_and_batch,
    vae,
    wgan_gp,
)

BCE = F.binary_cross_entropy_with_logits


def draw_noise(*shapes: tuple[int, ...], prior: str = "normal") -> list[Tensor]:
    """Return the numbers that an objective draws, in the order of `shapes`."""
    rng = torch.Generator().manual_seed(5)
    draw = torch.randn if prior == "normal" else torch.rand
    return [draw(shape, generator=rng, dtype=torch.float64) for shape in shapes]


def mode() -> Mode:
    return Mode(True, torch.Generator().manual_seed(5))


def discriminator_loss(kind: str, real: Tensor, fake: Tensor) -> Tensor:
    ones, zeros = torch.ones_like(real), torch.zeros_like(real)
    return {
        "non_saturating": lambda: BCE(real, ones) + BCE(fake, zeros),
        "least_squares": lambda: (F.mse_loss(real, ones) + F.mse_loss(fake, zeros)) / 2,
        "hinge": lambda: F.relu(1 - real).mean() + F.relu(1 + fake).mean(),
    }[kind]()


def generator_loss(kind: str, fake: Tensor) -> Tensor:
    ones = torch.ones_like(fake)
    return {
        "non_saturating": lambda: BCE(fake, ones),
        "least_squares": lambda: F.mse_loss(fake, ones) / 2,
        "hinge": lambda: -fake.mean(),
    }[kind]()


@pytest.mark.parametrize("kind", ["non_saturating", "least_squares", "hinge"])
def test_gradients_of_a_gan_equal_autograd(kind: str) -> None:
    objective = gan(kind, {"discriminator": 2.0, "generator": 0.5})
    params, batch = random_params_and_batch(objective)
    (z,) = draw_noise((6, LATENT))
    initial_params = {name: {**net} for name, net in params.items()}

    def weighted_discriminator_loss(p: Params) -> Tensor:
        fake = forward(objective.generator, p["generator"], z).detach()
        real = forward(objective.discriminator, p["discriminator"], 2 * batch.images - 1)
        return 2 * discriminator_loss(kind, real, forward(objective.discriminator, p["discriminator"], fake))

    def weighted_generator_loss(p: Params) -> Tensor:
        fake = forward(objective.generator, p["generator"], z)
        return 0.5 * generator_loss(kind, forward(objective.discriminator, p["discriminator"], fake))

    expected_discriminator = gradients_of(weighted_discriminator_loss, initial_params, "discriminator")
    turns = iter(objective.gradients(params, batch, mode()))
    losses, dparams = next(turns)
    assert torch.isclose(2 * losses["discriminator"], expected_discriminator[0])
    assert_equal(dparams, expected_discriminator[1])
    params["discriminator"]["conv1"]["weight"].mul_(1.1)  # as by an update
    expected_generator = gradients_of(weighted_generator_loss, params, "generator")
    losses, dparams = next(turns)
    assert torch.isclose(0.5 * losses["generator"], expected_generator[0])
    assert_equal(dparams, expected_generator[1])
    assert next(turns, None) is None


def input_gradient_norms(net: object, p: Params, x: Tensor) -> Tensor:
    """Return the norms of the input gradients, (N,), which PyTorch can differentiate once more."""
    x = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(forward(net, p, x).sum(), x, create_graph=True)
    return g.flatten(1).norm(dim=1)


def test_gradients_of_a_wgan_with_gradient_penalty_equal_autograd() -> None:
    objective = wgan_gp(2, {"critic": 2.0, "penalty": 0.3, "generator": 0.5})
    params, batch = random_params_and_batch(objective)
    rng = torch.Generator().manual_seed(5)
    turns = iter(objective.gradients(params, batch, mode()))
    for images in (2 * batch.images - 1).chunk(2):
        z = torch.randn(3, LATENT, generator=rng, dtype=torch.float64)
        mixing = torch.rand(3, 1, 1, 1, generator=rng, dtype=torch.float64)
        values = {}

        def critic_loss(p: Params, z=z, mixing=mixing, images=images, values=values) -> Tensor:
            fake = forward(objective.generator, p["generator"], z).detach()
            critic = p["critic"]
            values["critic"] = (
                forward(objective.critic, critic, fake).mean() - forward(objective.critic, critic, images).mean()
            )
            norms = input_gradient_norms(objective.critic, critic, mixing * images + (1 - mixing) * fake)
            values["penalty"] = 10 * ((norms - 1) ** 2).mean()
            return 2 * values["critic"] + 0.3 * values["penalty"]

        _, expected = gradients_of(critic_loss, params, "critic")
        losses, dparams = next(turns)
        for name in ("critic", "penalty"):
            assert torch.isclose(losses[name], values[name].detach())
        assert_equal(dparams, expected)
        params["critic"]["conv1"]["weight"].mul_(1.1)
    z = torch.randn(3, LATENT, generator=rng, dtype=torch.float64)
    value, expected = gradients_of(
        lambda p: -0.5 * forward(objective.critic, p["critic"], forward(objective.generator, p["generator"], z)).mean(),
        params, "generator",
    )  # fmt: skip
    losses, dparams = next(turns)
    assert torch.isclose(0.5 * losses["generator"], value)
    assert_equal(dparams, expected)


def test_gradients_of_the_r1_penalty_equal_autograd() -> None:
    objective = r1_gan({"penalty": 0.3})
    params, batch = random_params_and_batch(objective)
    (z,) = draw_noise((6, LATENT))
    images = 2 * batch.images - 1

    def weighted_discriminator_loss(p: Params) -> Tensor:
        net = objective.discriminator
        fake = forward(objective.generator, p["generator"], z).detach()
        penalty = 3 / 2 * (input_gradient_norms(net, p["discriminator"], images) ** 2).mean()
        real, fake = (forward(net, p["discriminator"], one) for one in (images, fake))
        return discriminator_loss("non_saturating", real, fake) + 0.3 * penalty

    value, expected = gradients_of(weighted_discriminator_loss, params, "discriminator")
    losses, dparams = next(iter(objective.gradients(params, batch, mode())))
    assert torch.isclose(losses["discriminator"] + 0.3 * losses["penalty"], value)
    assert_equal(dparams, expected)


def mmd(x: Tensor, y: Tensor, bandwidths: tuple[float, ...]) -> Tensor:
    def mean(a: Tensor, b: Tensor) -> Tensor:
        squares = ((a[:, None] - b[None]) ** 2).sum(2)
        return torch.stack([(-squares / (2 * s)).exp() for s in bandwidths]).sum(0).mean()

    return (mean(x, x) - 2 * mean(x, y) + mean(y, y)).sqrt()


def test_gradients_of_a_gmmn_equal_autograd() -> None:
    objective = gmmn()
    params, batch = random_params_and_batch(objective)
    (u,) = draw_noise((6, LATENT), prior="uniform")

    def loss(p: Params) -> Tensor:
        return 1000 * mmd(
            forward(objective.generator, p["generator"], 2 * u - 1).flatten(1),
            batch.images.flatten(1),
            objective.bandwidths,
        )

    value, expected = gradients_of(loss, params, "generator")
    losses, dparams = objective.gradients(params, batch, mode())
    assert torch.isclose(1000 * losses["mmd"], value)
    assert_equal(dparams, expected)


def test_gradients_of_a_gmmn_of_codes_equal_autograd() -> None:
    objective = code_gmmn(noise=0.3)
    params, batch = random_params_and_batch(objective)
    rng = torch.Generator().manual_seed(5)
    pixel_mask = torch.rand(6, 1, 8, 8, generator=rng) >= 0.3
    z = 2 * torch.rand(6, LATENT, generator=rng, dtype=torch.float64) - 1
    bce = torch.nn.BCEWithLogitsLoss(reduction="sum")

    def reconstruction_loss(p: Params) -> Tensor:
        codes = forward(objective.encoder, p["encoder"], batch.images * pixel_mask).sigmoid()
        return bce(forward(objective.decoder, p["decoder"], codes), batch.images) / 6

    def mmd_loss(p: Params) -> Tensor:
        codes = forward(objective.encoder, p["encoder"], batch.images).sigmoid().detach()
        return 1000 * mmd(forward(objective.generator, p["generator"], z), codes, objective.bandwidths)

    expected_autoencoder = gradients_of(reconstruction_loss, params, "encoder", "decoder")
    turns = iter(objective.gradients(params, batch, mode()))
    losses, dparams = next(turns)
    assert torch.isclose(losses["reconstruction"], expected_autoencoder[0])
    assert_equal(dparams, expected_autoencoder[1])
    params["encoder"]["code"]["weight"].mul_(1.1)
    expected_generator = gradients_of(mmd_loss, params, "generator")
    losses, dparams = next(turns)
    assert torch.isclose(1000 * losses["mmd"], expected_generator[0])
    assert_equal(dparams, expected_generator[1])


def test_gradients_of_a_vae_equal_autograd() -> None:
    objective = vae({"kl": 0.7})
    params, batch = random_params_and_batch(objective)
    (noise,) = draw_noise((6, LATENT))

    def negative_elbo(p: Params) -> Tensor:
        mean, log_variance = forward(objective.encoder, p["encoder"], batch.images).chunk(2, 1)
        posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
        logits = forward(objective.generator, p["generator"], mean + (log_variance / 2).exp() * noise)
        kl = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum()
        return (BCE(logits, batch.images, reduction="sum") + 0.7 * kl) / 6

    value, expected = gradients_of(negative_elbo, params, "generator", "encoder")
    losses, dparams = objective.gradients(params, batch, mode())
    assert torch.isclose(losses["reconstruction"] + 0.7 * losses["kl"], value)
    assert_equal(dparams, expected)


@pytest.mark.parametrize(("count", "turns"), [(1, 5), (4, 5), (6, 5), (9, 5)])
def test_the_critic_is_updated_in_every_turn_with_small_batches(count: int, turns: int) -> None:
    objective = wgan_gp(5)
    params, _ = objective.init((1, 8, 8), torch.Generator().manual_seed(0))
    batch = Batch(torch.rand(count, 1, 8, 8), torch.zeros(count))
    yielded = list(objective.gradients(params, batch, Mode(True, torch.Generator().manual_seed(1))))
    assert [*yielded[-1][0]] == ["generator"]
    assert len(yielded) - 1 == turns
    assert [sorted(losses) for losses, _ in yielded[:-1]] == [["critic", "penalty"]] * turns
