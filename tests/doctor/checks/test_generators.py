"""Short trainings of generators: each fault is found as the only cause, and healthy ones have no finding."""

from functools import cache

import numpy as np
import pytest
import torch
from pellucid.tasks.generate.doctor.checkerboard import is_uneven, peak_ratio
from pellucid.tasks.generate.doctor.vanishing_generator import epoch_norms
from scipy.spatial.distance import cdist

from pellucid import SGD, Adam, Dense, Flatten, LeakyReLU, Model, ReLU, Sequential
from pellucid.doctor import Diagnosis, case_of, diagnose
from pellucid.generators import GAN, Generator, vae
from pellucid.layers import AvgPool2d, BatchNorm, ConvTranspose2d, Layer, Reshape, Tanh
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


def make_generator(kernel: int = 4) -> Sequential:
    """Return a generator from 8 latent numbers; a kernel of 3 with a stride of 2 overlaps unevenly (a checkerboard)."""
    up = {"stride": 2, "padding": 1, "output_padding": kernel % 2}
    return Sequential(
        reshape=Reshape((-1, 1, 1)), up1=ConvTranspose2d(16, 2), norm1=BatchNorm(), relu1=ReLU(),
        up2=ConvTranspose2d(8, kernel, **up), norm2=BatchNorm(), relu2=ReLU(),
        up3=ConvTranspose2d(1, kernel, **up), tanh=Tanh(),
    )  # fmt: skip


def dense_discriminator(*first_layers: Layer, act: Layer = LEAKY, units: int = 64) -> Sequential:
    return Sequential(*first_layers, Flatten(), Dense(units), act, Dense(units // 2), act, Dense(1))


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
    "won": lambda: trained_gan(make_generator(), dense_discriminator(), (make_adam(1e-5), make_adam(5e-3))),
    "vanished": lambda: trained_gan(
        make_generator(), dense_discriminator(act=ReLU(), units=8), (make_adam(2e-3), SGD(3.0))
    ),
    "checkerboard": lambda: trained_gan(
        make_generator(3), dense_discriminator(AvgPool2d(2)), (make_adam(2e-3), make_adam(2e-3))
    ),
}


@cache
def make_case(name: str) -> GeneratorCase:
    return TRAININGS[name]()


@cache
def diagnosis(name: str) -> Diagnosis:
    return diagnose(make_case(name), checks=CHECKS)


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("collapse", "collapsed-samples"),
        ("won", "discriminator"),
        ("vanished", "vanishing-generator"),
        ("checkerboard", "checkerboard"),
    ],
)
def test_the_fault_of_a_training_is_its_only_cause(name: str, cause: str) -> None:
    assert diagnosis(name).causes == (cause,)
    assert set(diagnosis(name).names) <= {cause, "checkerboard"}


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


def test_the_norm_of_an_epoch_is_that_of_all_tensors() -> None:
    case = make_case("vanished")
    assert case.history is not None
    rows = [row for row in case.history.layers if row["epoch"] == 1 and str(row["path"]).startswith("generator.")]
    expected = np.sqrt(sum(float(row["grad_norm"] or 0) ** 2 for row in rows))
    assert epoch_norms(case)[0] == pytest.approx(expected)
    assert len(epoch_norms(case)) == 10


def test_a_pattern_is_measured_against_nearby_frequencies() -> None:
    rng = torch.Generator().manual_seed(0)
    noise = torch.randn(500, 1, 16, 16, generator=rng)
    assert peak_ratio(noise) == pytest.approx(1.0, abs=0.15)  # white: equal power at all frequencies
    rows = torch.tensor([1.0, -1.0]).repeat(8)
    for board in (rows[:, None].expand(16, 16), rows[None].expand(16, 16), rows[:, None] * rows):
        # The board has a power of (256 a)² at one frequency, the noise of 256 at each.
        assert peak_ratio(noise + 0.5 * board) == pytest.approx(1 + 0.25 * 256, rel=0.2)
    assert peak_ratio(torch.zeros(2, 1, 9, 9)) == 0


def test_the_layer_of_a_checkerboard_is_named() -> None:
    (finding,) = diagnosis("checkerboard").findings
    assert finding.path == "generator.up2"
    assert is_uneven(ConvTranspose2d(1, (4, 3), stride=2))
    assert not is_uneven(ConvTranspose2d(1, 4, stride=2))


def test_a_loss_of_another_kind_is_left_out_with_the_reason() -> None:
    diagnosis = diagnose(
        trained_case(GAN(make_generator(), 8, dense_discriminator(), loss="hinge"), make_adam(2e-3), 1), checks=CHECKS
    )
    assert "the loss 'hinge'" in diagnosis.left_out["discriminator"]
