"""Mode collapse: samples of a generator that are nearly the same, or a few images again and again."""

import torch
from torch import Tensor

from pellucid.doctor.case import Case
from pellucid.doctor.finding import GENERATOR, Check, Finding
from pellucid.doctor.predictions import UnansweredError

MIN_STEPS = 50  # of a training
SPREAD = 0.5  # of the data's mean distance of two images; samples of healthy generators have 0.8 to 1
REPEATED = 0.2  # of the data's median distance to the nearest other image


def look(case: Case) -> list[Finding]:
    """Compare the distances between samples with those between training images."""
    if 0 < case.steps_made < MIN_STEPS:
        raise UnansweredError(f"samples are alike after the first steps, and the training made {case.steps_made}")
    made, real = distances(case.samples), distances(case.data_images)
    spread, apart = (mine / theirs if theirs else 1.0 for mine, theirs in zip(made, real, strict=True))
    if spread >= SPREAD and apart >= REPEATED:
        return []
    evidence = {
        "mean_distance": made[0],
        "mean_distance_of_training_images": real[0],
        "distance_to_nearest": made[1],
        "distance_to_nearest_of_training_images": real[1],
        "samples": len(case.samples),
    }
    cause = "the generator maps different latent vectors to nearly the same images (mode collapse)"
    fix = (
        "train by wgan_gp or r1_gan, lower the generator's learning rate, or use larger batches; weights of an earlier "
        "epoch (train.keep) may be better"
    )
    return [Finding(NAME, "generator", evidence, cause, fix)]


def distances(images: Tensor) -> tuple[float, float]:
    """Return the mean Euclidean distance of two images, and the median distance to the nearest other one."""
    apart = torch.cdist(images.flatten(1).double(), images.flatten(1).double())
    count = len(apart)
    mean = float(apart.sum()) / (count * (count - 1)) if count > 1 else 0.0
    nearest = (apart + torch.diag(torch.full((count,), torch.inf, dtype=apart.dtype))).min(1).values
    return mean, float(nearest.median()) if count > 1 else 0.0


NAME = "collapsed-samples"
CHECK = Check(NAME, look, proven=True, trained=True, of=(GENERATOR,), explains=("checkerboard",))
