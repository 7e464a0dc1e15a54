"""Samples of a generator in a run's report: final, by epoch, and compared with the nearest training images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pellucid.data import Source, float_images
from pellucid.data.seeds import generator
from pellucid.generators import Generator
from pellucid.model import Model
from pellucid.objective import seeded
from pellucid.report.figures.pictures import image_rows, sample_sheet
from pellucid.report.sections import FigurePart, Section
from pellucid.run.folder import RunFolder
from pellucid.task import Reported
from pellucid.training.callbacks import snapshot_files
from pellucid.training.distributed import ALONE, Processes

N_SHEET, N_ROW = 128, 10  # number of samples on the sheet, and in a row of images
WALK_STEPS = 10  # images of an interpolation between two latent vectors
LATENT_SEED = 0  # seed of the latent vectors of all samples
BATCH_SIZE = 1000  # training images at a time

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
    row, count = len(samples.nearest), len(samples.samples)
    by_epoch = {f"after epoch {epoch}": images for epoch, images in samples.epochs.items()}
    nearest = image_rows({"sample": samples.samples[:row], "training image": samples.nearest})
    walks = image_rows({f"walk {k}": images for k, images in enumerate(samples.walks, start=1)})
    parts = [
        FigurePart(
            "samples", sample_sheet(samples.samples), f"{count} samples", f"{count} samples, none selected (seed 0)."
        ),
        FigurePart(
            "epochs", image_rows(by_epoch) if by_epoch else None, "Samples over the epochs",
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
        samples.numpy(), samples_by_epoch, images.numpy(), tuple(latent_walk(model, seed).numpy() for seed in range(3))
    )


def sample(model: Model, count: int, seed: int = LATENT_SEED) -> Tensor:
    """Draw `count` images; return (count, C, H, W), values 0..1, on the CPU."""
    with torch.inference_mode():
        return _objective(model).sample(model.params, count, seeded(model.device, seed)).float().cpu()


def latent_walk(model: Model, seed: int = LATENT_SEED, steps: int = WALK_STEPS) -> Tensor:
    """Draw the images (steps, C, H, W) of an interpolation between two latent vectors, drawn with the seed.

    It is linear for a uniform prior, and spherical for a normal one, whose vectors lie near a sphere.
    Source: Shoemake 1985 (spherical interpolation); White 2016, "Sampling generative networks", section 2.1.
    """
    objective = _objective(model)
    with torch.inference_mode():
        weight = next(iter(model.weights.values()))
        start_latent, end_latent = objective.latents(2, seeded(model.device, seed + 1), weight)
        t = torch.linspace(0, 1, steps, dtype=weight.dtype, device=weight.device)[:, None]
        if objective.prior == "uniform":
            z = (1 - t) * start_latent + t * end_latent
        else:
            angle = torch.acos(torch.cosine_similarity(start_latent, end_latent, 0).clamp(-0.9999, 0.9999))
            z = (((1 - t) * angle).sin() * start_latent + (t * angle).sin() * end_latent) / angle.sin()
        return objective.generate(model.params, z).float().cpu()


def nearest_images(samples: Tensor, train: Source, processes: Processes = ALONE) -> tuple[Tensor, Tensor]:
    """Return the training image with the smallest Euclidean distance to each sample, and the distances (n,).

    processes: each searches a part of the training images; all return the same results.
    """
    flat_samples = samples.flatten(1)

    def nearest_of(start: int) -> tuple[Tensor, Tensor]:
        images = images_at(train, range(start, min(start + BATCH_SIZE, len(train))))
        distances, indices = torch.cdist(flat_samples, images.flatten(1)).min(1)
        return distances, start + indices

    min_distances, nearest_indices = torch.full((len(samples),), torch.inf), torch.zeros(len(samples), dtype=torch.long)
    for distances, indices in processes.shared(range(0, len(train), BATCH_SIZE), nearest_of):
        closer = distances < min_distances
        min_distances, nearest_indices = (
            torch.where(closer, distances, min_distances),
            torch.where(closer, indices, nearest_indices),
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
