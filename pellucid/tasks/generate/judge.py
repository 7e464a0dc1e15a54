"""How good the samples of a generator are."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid import assets
from pellucid.data import Arrays, Source, float_images
from pellucid.data.seeds import generator
from pellucid.layers.base import Mode
from pellucid.metrics.frechet import frechet_distance, kernel_distance
from pellucid.metrics.generation import ParzenLikelihood, Variety, parzen, variety
from pellucid.model import Model
from pellucid.models import features
from pellucid.recipe.material import check_exists, data_for, images_alone, load_material, table_for
from pellucid.run_report.generated import nearest_images, sample
from pellucid.training.examples import first_batch

SAMPLES = 10_000  # windows, and what the classifier sees
NEAREST = 500  # samples, and test images, whose nearest training images are looked for
EVERY = 10  # of the test images, one in so many chooses the bandwidth, the others are measured
BATCH = 500
CLASSIFIERS = {"mnist": "mnist-conv"}  # the shipped classifier of a data set


@dataclass(frozen=True)
class Judged:
    """The judgement of a generator's samples.

    n: of samples. variety: of a classifier's answers. frechet: the squared Frechet distance of its features, samples to
    as many training images. kid: their kernel distance. parzen: the log-likelihood of test images. nearest: the mean
    Euclidean distance of samples to the nearest training image; nearest_test: the same of test images, which are no
    copies.
    """

    data: str
    n: int
    classifier: str
    variety: Variety | None
    frechet: float | None
    kid: float | None
    parzen: ParzenLikelihood
    nearest: float
    nearest_test: float

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return asdict(self)


def evaluate(model: Model, data: str | None = None, count: int = SAMPLES) -> Judged:
    """Judge a generator beside the data that it was trained on, or others.

    data: the name of a data set, a folder or zip of images, or the root of the model's own data set.
    """
    name, root = data_for(model, data)
    check_exists(name)
    material = load_material(table_for(model.nominal_shape, name), 0, root).map(images_alone)
    model.fitting(Arrays(*first_batch(material.train)), name)
    return judge(model, material.train, material.test, name, count)


def judge(model: Model, train: Source, test: Source, name: str, count: int = SAMPLES, seed: int = 0) -> Judged:
    """Judge `count` samples beside training and test images."""
    samples = torch.cat([sample(model, min(BATCH, count - at), seed + 1 + at) for at in range(0, count, BATCH)])
    held = images_of(test)
    chooses = torch.arange(len(held)) % EVERY == 0
    found = parzen(samples, held[chooses], held[~chooses])
    answers, distance, kid, classifier = None, None, None, CLASSIFIERS.get(name, "")
    if classifier:
        judging = Model.load(assets.pretrained_file(classifier))
        answers = variety(judging.predict(samples))
        made, real = features_of(judging, samples), features_of(judging, images_of(train, count))
        distance, kid = frechet_distance(made, real), kernel_distance(made, real)
    _, near = nearest_images(samples[:NEAREST], train)
    _, between = nearest_images(held[:NEAREST], train)
    return Judged(name, count, classifier, answers, distance, kid, found, float(near.mean()), float(between.mean()))


def features_of(classifier: Model, images: Tensor) -> Tensor:
    """Return a classifier's features of images (n, C, H, W), averaged over each map, (n, channels)."""
    net, found = features(classifier.net), list[Tensor]()
    with torch.inference_mode():
        for some in images.split(BATCH):
            maps, _ = net.forward(classifier.params["features"], classifier.scaled(some), Mode(keep=False))
            found.append(maps.flatten(2).mean(2) if maps.dim() == 4 else maps)
    return torch.cat(found)


def images_of(source: Source, most: int | None = None) -> Tensor:
    """Return the first images of a source, (n, C, H, W) with values 0..1."""
    count = len(source) if most is None else min(most, len(source))
    return float_images(source.batch(range(count), generator(0)).images)
