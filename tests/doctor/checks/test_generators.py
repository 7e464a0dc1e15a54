"""Short trainings of generators: healthy ones have no finding."""

from functools import cache

import pytest

from pellucid import Adam, Dense, Flatten, LeakyReLU, Model, ReLU, Sequential
from pellucid.doctor import Case, Diagnosis, case_of, diagnose
from pellucid.generators import GAN, Generator, vae
from pellucid.layers import BatchNorm, ConvTranspose2d, Reshape, Tanh
from pellucid.models.dcgan import dcgan_discriminator, dcgan_generator
from pellucid.optim import Optimizer
from pellucid.tasks.generate.doctor import CHECKS, with_image_targets
from tests.training.small import digits

DATA = digits(0, 400)
LEAKY = LeakyReLU(0.2)


def make_adam(lr: float) -> Adam:
    return Adam(lr, beta1=0.5)


def make_generator() -> Sequential:
    """Return a generator from 8 latent numbers."""
    up = {"stride": 2, "padding": 1}
    return Sequential(
        reshape=Reshape((-1, 1, 1)), up1=ConvTranspose2d(16, 2), norm1=BatchNorm(), relu1=ReLU(),
        up2=ConvTranspose2d(8, 4, **up), norm2=BatchNorm(), relu2=ReLU(),
        up3=ConvTranspose2d(1, 4, **up), tanh=Tanh(),
    )  # fmt: skip


def dense_discriminator() -> Sequential:
    return Sequential(Flatten(), Dense(64), LEAKY, Dense(32), LEAKY, Dense(1))


def trained_case(objective: Generator, optimizer: Optimizer | dict[str, Optimizer], epochs: int) -> Case:
    model = Model(objective, optimizer=optimizer, input_shape=(1, 8, 8))
    history = model.fit(DATA, epochs=epochs, batch_size=50, verbose=False)
    return with_image_targets(case_of(model, DATA, batch_size=50, epochs=epochs, history=history))


def trained_gan(
    generator: Sequential, discriminator: Sequential, rates: tuple[Optimizer, Optimizer], epochs: int = 10
) -> Case:
    return trained_case(
        GAN(generator, 8, discriminator), dict(zip(("generator", "discriminator"), rates, strict=True)), epochs
    )


TRAININGS = {
    "healthy": lambda: trained_gan(
        dcgan_generator(8, 1, 16), dcgan_discriminator(8, 16), (make_adam(1e-3), make_adam(1e-3)), 15
    ),
    "healthy dense": lambda: trained_gan(
        make_generator(), dense_discriminator(), (make_adam(2e-3), make_adam(2e-3)), 15
    ),
    "healthy vae": lambda: trained_case(vae(8, 1, 8, 64), Adam(0.01), 25),
}


@cache
def make_case(name: str) -> Case:
    return TRAININGS[name]()


@cache
def diagnosis(name: str) -> Diagnosis:
    return diagnose(make_case(name), checks=CHECKS)


@pytest.mark.parametrize("name", TRAININGS)
def test_healthy_trainings_have_no_finding(name: str) -> None:
    assert diagnosis(name).healthy, str(diagnosis(name))
    assert set(diagnosis(name).checks) == {check.name for check in CHECKS}
