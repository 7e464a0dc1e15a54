"""A linear model of pixels or of a shipped network's features: the baseline of tasks with one output for an image."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from pellucid.data import Source, Subset
from pellucid.data.seeds import generator
from pellucid.model import Model
from pellucid.ops.ridge import fit_ridge
from pellucid.shipped_files import pretrained_file
from pellucid.task import Baseline
from pellucid.training.examples import first_batch
from pellucid.training.reading import read_batches

MAX_EXAMPLES = 10_000  # to which a model of pixels is fitted
MAX_EXAMPLES_OF_BACKBONE = 1_500  # to which a model of the backbone's features is fitted: 10 ms for each
MAX_PIXELS = 1_024  # values of a reduced image; their covariance matrix is decomposed in half a second
BACKBONE_SIDE = 96  # pixels, height and width of the images for the backbone
MIN_SIDE = 48  # pixels; the backbone was trained on photos, and smaller images have few of its features


def linear_baseline(train: Source, targets_of: Callable[[Tensor], Tensor], max_features: int) -> Baseline:
    """Return a linear model, fitted by ridge regression, of the targets (N, K) that `targets_of` makes of a batch's.

    It is a model of the shipped backbone's features for colour images of at least MIN_SIDE pixels, if it is fitted to
    at most `max_features` images, and otherwise a model of the pixels.
    """
    first_image = first_batch(train).images[0]
    n_examples = min(len(train), MAX_EXAMPLES_OF_BACKBONE)
    is_photo = first_image.dim() == 3 and first_image.shape[0] == 3 and min(first_image.shape[1:]) >= MIN_SIDE
    if is_photo and n_examples <= max_features:
        name, features = "a linear model of the backbone's features", backbone_features()
    else:
        name, features, n_examples = "a linear model of the pixels", pixel_features, min(len(train), MAX_EXAMPLES)
    indices = torch.randperm(len(train), generator=generator(0))[:n_examples]
    batches = list(read_batches(Subset(train, indices), None, 64))
    x = torch.cat([features(batch.images) for batch in batches]).double()
    y = torch.cat([targets_of(batch.targets) for batch in batches]).double()
    weight, bias = fit_ridge(x, y)
    return Baseline(name, lambda images: (features(images).double() @ weight + bias).float())


def pixel_features(images: Tensor) -> Tensor:
    """Return inputs (N, ...) as rows; images that have more than MAX_PIXELS values are reduced by averaging."""
    if images.dim() == 4 and images[0].numel() > MAX_PIXELS:
        side = int((MAX_PIXELS / images.shape[1]) ** 0.5)
        images = adaptive_avg_pool2d(images, (min(side, images.shape[2]), min(side, images.shape[3])))
    return images.flatten(1)


def backbone_features() -> Callable[[Tensor], Tensor]:
    """Return a function that computes the features (N, 1280) of images (N, 3, H, W), 0..1, by the shipped backbone."""
    backbone = Model.load(pretrained_file("backbone"))

    def features(images: Tensor) -> Tensor:
        resized = interpolate(images, (BACKBONE_SIDE, BACKBONE_SIDE), mode="bilinear", antialias=True)
        return backbone.predict(resized).mean((2, 3))

    return features
