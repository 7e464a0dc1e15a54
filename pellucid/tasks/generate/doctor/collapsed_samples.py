"""Check for mode collapse: samples that are nearly equal, or that repeat a few images."""

import torch
from torch import Tensor

from pellucid.doctor.finding import Check, Finding
from pellucid.doctor.predictions import UnansweredError
from pellucid.tasks.generate.doctor.case import GeneratorCase

MIN_STEPS = 50  # of the training; before that, samples of healthy generators are alike too
MIN_SPREAD = 0.5  # mean distance of two samples, relative to two training images; 0.8 to 1 for healthy generators
MIN_NEAREST = 0.2  # median distance to the nearest other sample, relative to that of training images


def find(case: GeneratorCase) -> list[Finding]:
    """Compare the distances between samples with the distances between training images."""
    if 0 < case.steps_made < MIN_STEPS:
        raise UnansweredError(f"needs {MIN_STEPS} steps, before which samples are alike; {case.steps_made} were made")
    generated, real = sample_distances(case.samples), sample_distances(case.data_images)
    variation, nearest = (sampled / data if data else 1.0 for sampled, data in zip(generated, real, strict=True))
    if variation >= MIN_SPREAD and nearest >= MIN_NEAREST:
        return []
    evidence = {
        "mean_distance": generated[0],
        "mean_distance_of_training_images": real[0],
        "distance_to_nearest": generated[1],
        "distance_to_nearest_of_training_images": real[1],
        "samples": len(case.samples),
    }
    cause = "the generator maps different latent vectors to nearly the same images (mode collapse)"
    fix = (
        "train by wgan_gp or r1_gan, lower the generator's learning rate, or use larger batches; weights of an earlier "
        "epoch (train.keep) may be better"
    )
    return [Finding(NAME, "generator", evidence, cause, fix)]


def sample_distances(images: Tensor) -> tuple[float, float]:
    """Return the mean Euclidean distance between two images, and the median distance to the nearest other image.

    images: (n, C, H, W). Both are 0 for fewer than two images.
    """
    distance = torch.cdist(images.flatten(1).double(), images.flatten(1).double())
    count = len(distance)
    mean = float(distance.sum()) / (count * (count - 1)) if count > 1 else 0.0
    nearest = (distance + torch.diag(torch.full((count,), torch.inf, dtype=distance.dtype))).min(1).values
    return mean, float(nearest.median()) if count > 1 else 0.0


NAME = "collapsed-samples"
CHECK = Check(NAME, find, finds_faults=True, trained=True)
