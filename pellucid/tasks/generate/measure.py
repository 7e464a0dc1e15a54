"""Evaluation of generators, PNG files of samples, and the samples in a run's report.

Those are final, by epoch, and compared with the nearest training images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pellucid import shipped_files
from pellucid.base.errors import PellucidError
from pellucid.base.files import make_folder, write_atomically
from pellucid.data import Arrays, Source, float_images
from pellucid.data.detection import images_alone
from pellucid.data.seeds import generator
from pellucid.generators import Generator
from pellucid.layers.base import Mode
from pellucid.metrics.generation import ParzenLikelihood, Variety, frechet_distance, kernel_distance, parzen, variety
from pellucid.model import Model
from pellucid.models import features
from pellucid.objective import seeded_generator
from pellucid.recipe.material import load_material
from pellucid.recipe.model_data import check_data_exists, data_and_root, table_for
from pellucid.report.figures.pictures import image_rows, montage, sample_sheet
from pellucid.report.sections import FigurePart, Section
from pellucid.run.folder import RunFolder
from pellucid.task import Reported
from pellucid.tasks.outputs import png
from pellucid.training.callbacks import snapshot_files
from pellucid.training.distributed import ALONE, Processes
from pellucid.training.examples import first_batch

N_SAMPLES = 10_000  # generated images to evaluate, by default
MAX_NEAREST = 500  # number of samples, and of test images, whose nearest training images are searched
# recipes of generators have no validation images, and no image is used for both
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
    is_for_tuning = torch.arange(len(held_out)) % TUNING_STEP == 0
    likelihood = parzen(samples, held_out[is_for_tuning], held_out[~is_for_tuning], processes.shared)
    class_variety, distance, kid, classifier = None, None, None, CLASSIFIERS.get(name, "")
    if classifier:
        network = Model.load(shipped_files.pretrained_file(classifier))
        class_variety = variety(torch.cat([*processes.shared(samples.split(BATCH_SIZE), network.predict)]))
        generated_features, real_features = (
            features_of(network, images, processes) for images in (samples, images_of(train, count))
        )
        distance, kid = (
            frechet_distance(generated_features, real_features),
            kernel_distance(generated_features, real_features),
        )
    nearest, nearest_test = (
        float(nearest_images(images[:MAX_NEAREST], train, processes)[1].mean()) for images in (samples, held_out)
    )
    return SampleEvaluation(
        data=name,
        n=count,
        classifier=classifier,
        variety=class_variety,
        frechet=distance,
        kid=kid,
        parzen=likelihood,
        nearest=nearest,
        nearest_test=nearest_test,
    )


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


N_SHEET, N_ROW = 128, 10  # number of samples on the sheet, and in a row of images
WALK_STEPS = 10  # images of an interpolation between two latent vectors
LATENT_SEED = 0  # seed of the latent vectors of all samples
TRAINING_BATCH_SIZE = 1000  # training images at a time

Images = NDArray[np.float32]


@dataclass(frozen=True)
class GeneratedImages:
    """Images of a generator, (n, 1 or 3, H, W) with values 0..1.

    samples: from random latent vectors, not selected. epochs: samples from the same latent vectors, by epoch whose
    weights the run keeps. nearest: the training image with the smallest Euclidean distance to each of the first
    samples. walks: interpolations between two latent vectors, see `latent_walk`.
    """

    samples: Images
    epochs: Mapping[int, Images]
    nearest: Images
    walks: tuple[Images, ...]


def report(model: Model, train: Source, folder: RunFolder) -> Reported:
    """Return the section of samples, of their nearest training images and of interpolations."""
    samples = draw_samples(model, train, folder)
    n_nearest, n_samples = len(samples.nearest), len(samples.samples)
    samples_by_epoch = {f"after epoch {epoch}": images for epoch, images in samples.epochs.items()}
    nearest = image_rows({"sample": samples.samples[:n_nearest], "training image": samples.nearest})
    walks = image_rows({f"walk {k}": images for k, images in enumerate(samples.walks, start=1)})
    parts = [
        FigurePart(
            "samples", sample_sheet(samples.samples), f"{n_samples} samples",
            f"{n_samples} samples, none selected (seed 0).",
        ),
        FigurePart(
            "epochs", image_rows(samples_by_epoch) if samples_by_epoch else None, "Samples over the epochs",
            "The same latent vectors after each epoch whose weights the run keeps (train.keep).",
            "The run kept no weights of epochs; set train.keep to keep some.",
        ),
        FigurePart(
            "nearest", nearest, "Samples and the training images nearest to them",
            "Above: samples. Below: the training image with the smallest Euclidean distance to each; equal images "
            "would mean that the generator repeats the training data.",
        ),
        FigurePart(
            "walks", walks, "Walks between two latent vectors",
            "Images on the way from one latent vector (left) to another (right).",
        ),
    ]  # fmt: skip
    return Reported([Section("samples", "Samples", parts, wide=True)])


def draw_samples(model: Model, train: Source, folder: RunFolder) -> GeneratedImages:
    """Draw samples of a generator with the weights of the model, and with the weights of epochs that the run kept."""
    samples = sample(model, N_SHEET)
    samples_by_epoch = {
        epoch: sample(Model.load(path), N_ROW).numpy() for epoch, path in snapshot_files(folder.weights).items()
    }
    images, _ = nearest_images(samples[:N_ROW], train)
    return GeneratedImages(
        samples=samples.numpy(),
        epochs=samples_by_epoch,
        nearest=images.numpy(),
        walks=tuple(latent_walk(model, seed).numpy() for seed in range(3)),
    )


def sample(model: Model, count: int, seed: int = LATENT_SEED) -> Tensor:
    """Draw `count` images; return (count, C, H, W), values 0..1, on the CPU."""
    with torch.inference_mode():
        return _objective(model).sample(model.params, count, seeded_generator(model.device, seed)).float().cpu()


def latent_walk(model: Model, seed: int = LATENT_SEED, steps: int = WALK_STEPS) -> Tensor:
    """Draw the images (steps, C, H, W) of an interpolation between two latent vectors, drawn with the seed.

    It is linear for a uniform prior, and spherical for a normal one, whose vectors lie near a sphere.
    Source: Shoemake 1985 (spherical interpolation); White 2016, "Sampling generative networks", section 2.1.
    """
    objective = _objective(model)
    with torch.inference_mode():
        weight = next(iter(model.weights.values()))
        start_latent, end_latent = objective.latents(2, seeded_generator(model.device, seed + 1), weight)
        fractions = torch.linspace(0, 1, steps, dtype=weight.dtype, device=weight.device)[:, None]
        if objective.prior == "uniform":
            latents = (1 - fractions) * start_latent + fractions * end_latent
        else:
            angle = torch.acos(torch.cosine_similarity(start_latent, end_latent, 0).clamp(-0.9999, 0.9999))
            latents = (
                ((1 - fractions) * angle).sin() * start_latent + (fractions * angle).sin() * end_latent
            ) / angle.sin()
        return objective.generate(model.params, latents).float().cpu()


def nearest_images(samples: Tensor, train: Source, processes: Processes = ALONE) -> tuple[Tensor, Tensor]:
    """Return the training image with the smallest Euclidean distance to each sample, and the distances (n,).

    processes: each searches a part of the training images; all return the same results.
    """
    flat_samples = samples.flatten(1)

    def nearest_of(start: int) -> tuple[Tensor, Tensor]:
        images = images_at(train, range(start, min(start + TRAINING_BATCH_SIZE, len(train))))
        distances, indices = torch.cdist(flat_samples, images.flatten(1)).min(1)
        return distances, start + indices

    min_distances, nearest_indices = torch.full((len(samples),), torch.inf), torch.zeros(len(samples), dtype=torch.long)
    for distances, indices in processes.shared(range(0, len(train), TRAINING_BATCH_SIZE), nearest_of):
        is_closer = distances < min_distances
        min_distances, nearest_indices = (
            torch.where(is_closer, distances, min_distances),
            torch.where(is_closer, indices, nearest_indices),
        )
    nearest_train = images_at(train, nearest_indices.tolist())
    # The distances are recomputed, since cdist is not exactly 0 for copies.
    return nearest_train, torch.linalg.vector_norm((samples - nearest_train).flatten(1), dim=1)


def images_at(source: Source, indices: Sequence[int]) -> Tensor:
    """Return the images of a source at some indices, (n, C, H, W) with values 0..1."""
    return float_images(source.batch(indices, generator(0)).images)


def _objective(model: Model) -> Generator:
    assert isinstance(model.objective, Generator)
    return model.objective
