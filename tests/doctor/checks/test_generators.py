"""Short trainings of generators: each fault is found as the only cause, and healthy ones have no finding."""

from functools import cache

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from pellucid import Adam, Dense, Flatten, LeakyReLU, Model, ReLU, Sequential
from pellucid.doctor import Diagnosis, case_of, diagnose
from pellucid.generators import GAN, Generator, vae
from pellucid.layers import BatchNorm, ConvTranspose2d, Reshape, Tanh
from pellucid.models.dcgan import dcgan_discriminator, dcgan_generator
from pellucid.optim import Optimizer
from pellucid.tasks.generate.doctor import CHECKS
from pellucid.tasks.generate.doctor.case import GeneratorCase
from pellucid.tasks.generate.doctor.collapsed_samples import sample_distances
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


def trained_case(objective: Generator, optimizer: Optimizer | dict[str, Optimizer], epochs: int) -> GeneratorCase:
    model = Model(objective, optimizer=optimizer, input_shape=(1, 8, 8))
    history = model.fit(DATA, epochs=epochs, batch_size=50, verbose=False)
    return GeneratorCase.of(case_of(model, DATA, batch_size=50, epochs=epochs, history=history))


def trained_gan(
    generator: Sequential, discriminator: Sequential, rates: tuple[Optimizer, Optimizer], epochs: int = 10
) -> GeneratorCase:
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
    "collapse": lambda: trained_gan(make_generator(), dense_discriminator(), (make_adam(3e-2), make_adam(1e-4))),
}


@cache
def make_case(name: str) -> GeneratorCase:
    return TRAININGS[name]()


@cache
def diagnosis(name: str) -> Diagnosis:
    return diagnose(make_case(name), checks=CHECKS)


def test_a_collapse_is_the_only_cause() -> None:
    assert diagnosis("collapse").causes == diagnosis("collapse").names == ("collapsed-samples",)


@pytest.mark.parametrize("name", [name for name in TRAININGS if name.startswith("healthy")])
def test_healthy_trainings_have_no_finding(name: str) -> None:
    assert diagnosis(name).healthy, str(diagnosis(name))
    assert set(diagnosis(name).checks) == {check.name for check in CHECKS}


def test_distances_are_those_of_scipy() -> None:
    images = make_case("collapse").samples
    all_distances = cdist(images.flatten(1), images.flatten(1))
    other_distances = all_distances[~np.eye(len(all_distances), dtype=bool)].reshape(len(all_distances), -1)
    assert sample_distances(images) == pytest.approx(
        (other_distances.mean(), np.sort(other_distances.min(1))[(len(all_distances) - 1) // 2]), rel=1e-5
    )
    (finding,) = (one for one in diagnosis("collapse").findings if one.check == "collapsed-samples")
    assert finding.evidence["mean_distance"] == pytest.approx(other_distances.mean(), rel=1e-5)


def test_repeated_images_are_a_collapse_too() -> None:
    """Copies of two digits have a usual mean distance, but a distance of 0 to the nearest sample."""
    repeated = DATA.x[:2].repeat(20, 1, 1, 1)
    assert sample_distances(repeated)[1] == 0
    assert sample_distances(repeated)[0] > 0.4 * sample_distances(DATA.x)[0]
