"""Evaluation of generators, and PNG files of samples."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pellucid import shipped_files
from pellucid.base.errors import PellucidError
from pellucid.base.files import make_folder, write_atomically
from pellucid.data import Arrays, Source
from pellucid.data.detection import images_alone
from pellucid.generators import Generator
from pellucid.layers.base import Mode
from pellucid.metrics.generation import ParzenLikelihood, Variety, frechet_distance, kernel_distance, parzen, variety
from pellucid.model import Model
from pellucid.models import features
from pellucid.recipe.material import load_material
from pellucid.recipe.model_data import check_data_exists, data_and_root, table_for
from pellucid.report.figures.pictures import montage
from pellucid.tasks.generate.report import images_at, nearest_images, sample
from pellucid.tasks.outputs import png
from pellucid.training.distributed import ALONE, Processes
from pellucid.training.examples import first_batch

N_SAMPLES = 10_000  # generated images to evaluate, by default
MAX_NEAREST = 500  # number of samples, and of test images, whose nearest training images are searched
TUNING_STEP = (
    10  # every 10th test image is used to choose the bandwidth of the Parzen windows, the others for the likelihood
)
BATCH_SIZE = 500
CLASSIFIERS = {"mnist": "mnist-conv"}  # shipped classifiers by data set
MAX_COLUMNS = 16  # of a sheet of samples
WHITE = 255


def is_generator(model: Model) -> bool:
    """Return whether a model draws images from latent vectors."""
    return isinstance(model.objective, Generator)


def write_samples(path: Path, images: Tensor) -> Path:
    """Write images (n, 1 or 3, H, W), values 0..1, as a grid into a PNG file; return its path.

    Raises PellucidError for another suffix.
    """
    if path.suffix.lower() != ".png":
        raise PellucidError(f"{path}: samples are written as PNG; end the name in .png")
    grid = montage(images, min(MAX_COLUMNS, len(images)))
    pixels = np.round(np.clip(grid, 0, 1) * WHITE).astype(np.uint8)
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1))
    make_folder(path.parent)
    write_atomically(path, png(image))
    return path


@dataclass(frozen=True)
class SampleEvaluation:
    """The evaluation of a generator's samples.

    data: the name of the data. n: the number of samples. classifier: the name of the shipped classifier of the data, ""
    for none; without one, variety, frechet and kid are None. variety: of its predictions for the samples. frechet: the
    squared Frechet distance between its features of the samples and of as many training images. kid: the kernel
    distance between the same features. parzen: the log-likelihood of test images. nearest: the mean Euclidean distance
    of samples from the nearest training image. nearest_test: the same for test images; samples that are copies of
    training images have a much smaller distance.
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
        """Return all fields as JSON values."""
        return asdict(self)


def evaluate(
    model: Model, data: str | None = None, processes: Processes = ALONE, count: int = N_SAMPLES
) -> SampleEvaluation:
    """Evaluate a generator against the data that it was trained on, or other data.

    data: the name of a data set, a folder or zip of images, or the root of the model's own data set; None for the
    model's own. processes: see `evaluate_generator`. count: the number of samples.
    """
    name, root = data_and_root(model, data)
    check_data_exists(name)
    material = load_material(table_for(model.nominal_shape, name), 0, root).map(images_alone)
    model.fitting(Arrays(*first_batch(material.train)), name)
    return evaluate_generator(model, material.train, material.test, name, count, processes)


def evaluate_generator(
    model: Model, train: Source, test: Source, name: str, count: int = N_SAMPLES, processes: Processes = ALONE
) -> SampleEvaluation:
    """Evaluate `count` samples against training and test images.

    name: of the data set. processes: each computes a part of the results; all return the same results as one process.
    """

    def draw_batch(start: int) -> Tensor:
        return sample(model, min(BATCH_SIZE, count - start), 1 + start)

    samples = torch.cat([*processes.shared(range(0, count, BATCH_SIZE), draw_batch)])
    held_out = images_of(test)
    for_tuning = torch.arange(len(held_out)) % TUNING_STEP == 0
    likelihood = parzen(samples, held_out[for_tuning], held_out[~for_tuning], processes.shared)
    class_variety, distance, kid, classifier = None, None, None, CLASSIFIERS.get(name, "")
    if classifier:
        network = Model.load(shipped_files.pretrained_file(classifier))
        class_variety = variety(torch.cat([*processes.shared(samples.split(BATCH_SIZE), network.predict)]))
        generated, real = (features_of(network, images, processes) for images in (samples, images_of(train, count)))
        distance, kid = frechet_distance(generated, real), kernel_distance(generated, real)
    nearest, nearest_test = (
        float(nearest_images(images[:MAX_NEAREST], train, processes)[1].mean()) for images in (samples, held_out)
    )
    return SampleEvaluation(name, count, classifier, class_variety, distance, kid, likelihood, nearest, nearest_test)


def features_of(classifier: Model, images: Tensor, processes: Processes = ALONE) -> Tensor:
    """Return a classifier's features (n, channels) of images (n, C, H, W), averaged over the positions of each map."""
    net = features(classifier.net)

    def pooled_features(batch: Tensor) -> Tensor:
        with torch.inference_mode():
            maps, _ = net.forward(classifier.params["features"], classifier.scaled(batch), Mode(keep=False))
            return maps.flatten(2).mean(2) if maps.dim() == 4 else maps

    return torch.cat([*processes.shared(images.split(BATCH_SIZE), pooled_features)])


def images_of(source: Source, max_count: int | None = None) -> Tensor:
    """Return the first images of a source, at most `max_count`, (n, C, H, W) with values 0..1."""
    return images_at(source, range(len(source) if max_count is None else min(max_count, len(source))))
