"""Evaluation of samples: copies of training images, a classifier's predictions, latent walks, sample sheets."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from pellucid import Dense, Model, shipped_files
from pellucid.base.errors import PellucidError
from pellucid.data import Arrays
from pellucid.generators import Generator
from pellucid.tasks.generate.measure import (
    evaluate_generator,
    is_generator,
    latent_walk,
    nearest_images,
    sample,
    write_samples,
)
from tests.generators.small import FAMILIES, SHAPE, gan


@dataclass(frozen=True)
class CopyingGenerator(Generator):
    """A generator that outputs stored training images, selected by the first latent number."""

    def gradients(self, params, batch, mode):
        raise NotImplementedError

    def init(self, shape, rng):
        return {"generator": {"images": torch.zeros(40, *shape)}}, shape

    def generate(self, params, z: Tensor) -> Tensor:
        images = params["generator"]["images"]
        return images[(z[:, 0].sigmoid() * len(images)).long()]


def random_images(count: int, seed: int) -> Tensor:
    return torch.rand(count, 1, 28, 28, generator=torch.Generator().manual_seed(seed))


def as_source(images: Tensor) -> Arrays:
    return Arrays(images, torch.zeros(len(images)), None, "")


def test_copies_of_training_images_are_found_by_their_distance() -> None:
    train, test = random_images(40, 0), random_images(30, 1)
    model = Model(CopyingGenerator(Dense(1), 2), input_shape=(1, 28, 28))
    model.params["generator"]["images"].copy_(train)
    actual = evaluate_generator(model, as_source(train), as_source(test), "mnist", count=60)
    assert actual.nearest == pytest.approx(0, abs=1e-3)
    expected = (test[:, None] - train[None]).flatten(2).norm(dim=2).min(1).values.mean()
    assert actual.nearest_test == pytest.approx(float(expected), rel=1e-5)
    assert (actual.n, actual.parzen.samples, actual.parzen.points, actual.parzen.chosen) == (60, 60, 27, 3)

    classifier = Model.load(shipped_files.pretrained_file("mnist-conv"))
    predicted = classifier.predict(sample(model, 60, seed=1)).argmax(1)
    assert actual.classifier == "mnist-conv"
    assert actual.variety is not None
    assert actual.variety.shares == pytest.approx((predicted.bincount(minlength=10) / 60).tolist())
    other = evaluate_generator(model, as_source(train), as_source(test), "other", count=60)
    assert (other.classifier, other.variety, other.frechet) == ("", None, None)
    assert other.parzen == actual.parzen


def test_the_nearest_image_is_found_across_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pellucid.tasks.generate.measure.TRAINING_BATCH_SIZE", 7)
    train, samples = random_images(40, 0), random_images(5, 1)
    result, distances = nearest_images(samples, as_source(train))
    all_distances = np.linalg.norm(samples.flatten(1).numpy()[:, None] - train.flatten(1).numpy()[None], axis=2)
    assert torch.equal(result, train[all_distances.argmin(1)])
    np.testing.assert_allclose(distances, all_distances.min(1), rtol=1e-5)


@pytest.mark.parametrize("family", ["gan", "gmmn"])
def test_a_walk_begins_and_ends_at_the_latent_vectors(family: str) -> None:
    model = Model(FAMILIES[family](), input_shape=SHAPE)
    rng = torch.Generator().manual_seed(4 + 1)
    end_images = model.objective.generate(model.params, model.objective.latents(2, rng, torch.zeros(())))
    images = latent_walk(model, seed=4, steps=5)
    assert images.shape == (5, *SHAPE)
    torch.testing.assert_close(images[[0, -1]], end_images, rtol=1e-4, atol=1e-5)


def test_samples_are_written_side_by_side(tmp_path) -> None:
    images = torch.rand(18, 3, 8, 8)
    path = write_samples(tmp_path / "new" / "a.png", images)
    picture = np.asarray(Image.open(path))
    assert picture.shape == (2 * 9 - 1, 16 * 9 - 1, 3)
    expected = np.round(images[17].permute(1, 2, 0).numpy() * 255)
    np.testing.assert_array_equal(picture[9:17, 9:17], expected)
    assert (picture[8] == 255).all()
    with pytest.raises(PellucidError, match=r"end the name in \.png"):
        write_samples(tmp_path / "a.jpg", images)
    (tmp_path / "file").touch()
    with pytest.raises(PellucidError, match="cannot be created"):
        write_samples(tmp_path / "file" / "a.png", images)


def test_models_that_are_not_generators_are_refused() -> None:
    assert is_generator(Model(gan(), input_shape=SHAPE))
    assert not is_generator(Model(Dense(2), input_shape=(3,)))
