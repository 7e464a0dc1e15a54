"""Evaluate the familiarity distance of the shipped classifiers: `python -m benchmarks.unfamiliar` writes
docs/unfamiliar.md.

The distances (`model.distance`) of in-distribution test images, without those that the threshold was fitted on, are
compared with the distances of other images, by scikit-learn's area under the ROC curve.
"""

import argparse
import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional as F

from pellucid import __version__, shipped_files
from pellucid.calibration.familiarity import farthest_score
from pellucid.data.dataset import float_images
from pellucid.model import Model
from pellucid.recipe.material import load_splits
from pellucid.recipe.model_data import data_name, table_for
from pellucid.tasks.pictures import read_views

PAGE = Path(__file__).resolve().parent.parent / "docs" / "unfamiliar.md"
COUNT = 300  # images of each kind
GREY = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
SHAPES = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32), "signs": (3, 64, 64)}
GRID = 4  # patches along each side of an image
HEAD = """# Unlike anything it was trained on

Written by `python -m benchmarks.unfamiliar` with Pellucid {version}, PyTorch {torch}; nothing is typed by hand.

A classifier assigns one of its classes to every image. The shipped classifiers also compute the familiarity distance of
an image: the distance of its features from those of the training data. The features are, at up to six depths, the mean
and standard deviation of each feature map (the inputs of Dense layers). They are modelled by one Gaussian for each
class with a shared covariance of low rank (Lee et al. 2018; Tipping and Bishop 1999). The Mahalanobis distance at each
depth is divided by the value that 1 % of the training images exceed there; the largest quotient is the familiarity
distance. If it is above a threshold, which at most 1 % of the held-out images exceed, `predict` reports "unlike
anything it was trained on". Recipes and `gestures train` fit the Gaussians on the training images, every second one at
a lower resolution, and the threshold on the validation data or, without validation data, on every second test image. Of
the shipped models, only `mnist-conv` has been fitted in this way. In Python: `model.distance(x)`,
`model.familiarity.threshold`.

## Area under the ROC curve

In-distribution test images not used for calibration are compared with {count} other images of each kind (0.5: chance;
1: perfect). The fraction of the other images beyond the stored threshold is in brackets. Images of another data set are
resized to the model's input, and converted to grey if it is grey. Noise is uniform, or normal around middle grey.
Shuffled images are the model's test images with their pixels, or their {grid} x {grid} patches, in random order.

| model | {kinds} |
|---|{rules}|
"""
TAIL = """
## False alarms

| model | stored threshold | in-distribution test images not used for calibration | beyond it |
|---|---:|---:|---:|
{alarms}

## Images preprocessed by `predict`

For models of digits, `predict` finds the ink in an image, crops, scales and centres it. A second input is made of the
rest: the surroundings, areas that are lighter than the ground around dark ink, and the continuation of the image beyond
its edges. `predict` warns if either input is beyond the threshold. Images of each kind beyond it, of {count}:

| model | {kinds} |
|---|{rules}|
{read}

## What it does not detect

- Images with the same textures: hands before a plain ground (the column signs) and shuffled patches of its own
  photographs are familiar to `cifar`. Letters and other scripts, which consist of the same strokes as digits, were not
  measured; expect many of them to be familiar to the models of digits.
- Dark shapes on a plain ground, for models of digits: the undetected photographs in the table above.
- Wrong predictions for familiar images: these are indicated by the probability and "unsure".
- Adversarial examples: no claim is made for these.
- Conversely, an image with a right prediction may be called unfamiliar: a digit from another pen, scanner or program
  differs from MNIST's (the table above), as does a digit that is cut off by the edge of the image, like scikit-learn's:
  leave a margin.
"""
PICTURE_KINDS: dict[str, Callable[[Tensor, Tensor, torch.Generator], Tensor]] = {
    "CIFAR-10": lambda own, photos, rng: (photos * GREY).sum(1, keepdim=True),
    "uniform noise": lambda own, photos, rng: torch.rand(own.shape, generator=rng),
    "shuffled pixels": lambda own, photos, rng: shuffled(own, rng),
    "shuffled patches": lambda own, photos, rng: shuffled(own, rng, GRID),
    "MNIST": lambda own, photos, rng: own,
    "MNIST, large, dark on grey paper": lambda own, photos, rng: (
        0.85
        - 0.7 * F.pad(_enlarged(own, 4), (60, 30, 20, 50))
        + 0.02 * torch.randn((len(own), 1, 182, 202), generator=rng)
    ),
    "scikit-learn's, with a margin": lambda own, photos, rng: F.pad(_scikit_digits(), (20,) * 4),
    "scikit-learn's, to the edge": lambda own, photos, rng: _scikit_digits(),
}


def own_images(model: Model) -> Tensor:
    """Return the test images that the threshold was not fitted on."""
    return float_images(load_splits(table_for(model.input_shape, data_name(model))).test.x[1::2])


def evenly_spaced(x: Tensor, count: int = COUNT) -> Tensor:
    count = min(count, len(x))
    return x[torch.arange(count) * len(x) // count]


def photographs(count: int = COUNT) -> Tensor:
    """Return test images of CIFAR-10."""
    return float_images(evenly_spaced(load_splits(table_for(SHAPES["cifar10"], "cifar10")).test.x, count))


def other_images(model: Model, name: str) -> Tensor:
    """Return test images of another data set, with the channels and the size of the model's inputs."""
    x = float_images(evenly_spaced(load_splits(table_for(SHAPES[name], name)).test.x))
    channels, *size = model.input_shape
    if channels == 1 and x.shape[1] == 3:
        x = (x * GREY).sum(1, keepdim=True)
    x = x.expand(-1, channels, -1, -1)
    return F.interpolate(x, size, mode="bilinear", antialias=True).clamp(0, 1)


def shuffled(x: Tensor, rng: torch.Generator, grid: int = 0) -> Tensor:
    """Return images with their pixels (grid=0), or `grid` x `grid` patches, in a random order that differs by image."""
    if not grid:
        orders = torch.stack([torch.randperm(x[0, 0].numel(), generator=rng) for _ in x])
        return x.flatten(2).gather(2, orders[:, None].expand(-1, x.shape[1], -1)).view(x.shape)
    n, channels, height, width = x.shape
    h, w = height // grid, width // grid
    parts = x[:, :, : h * grid, : w * grid].reshape(n, channels, grid, h, grid, w).permute(0, 2, 4, 1, 3, 5)
    parts = parts.reshape(n, grid * grid, channels, h, w)
    orders = torch.stack([torch.randperm(grid * grid, generator=rng) for _ in x])
    moved = parts[torch.arange(n)[:, None], orders].reshape(n, grid, grid, channels, h, w)
    out = x.clone()
    out[:, :, : h * grid, : w * grid] = moved.permute(0, 3, 1, 4, 2, 5).reshape(n, channels, h * grid, w * grid)
    return out


KINDS: dict[str, Callable[[Model, Tensor, torch.Generator], Tensor]] = {
    "MNIST": lambda model, own, rng: other_images(model, "mnist"),
    "signs": lambda model, own, rng: other_images(model, "signs"),
    "CIFAR-10": lambda model, own, rng: other_images(model, "cifar10"),
    "uniform noise": lambda model, own, rng: torch.rand((COUNT, *model.input_shape), generator=rng),
    "normal noise": lambda model, own, rng: (
        0.5 + 0.25 * torch.randn((COUNT, *model.input_shape), generator=rng)
    ).clamp(0, 1),
    "shuffled pixels": lambda model, own, rng: shuffled(evenly_spaced(own), rng),
    "shuffled patches": lambda model, own, rng: shuffled(evenly_spaced(own), rng, GRID),
}
OWN_DATA = {"MNIST": "mnist", "signs": "signs", "CIFAR-10": "cifar10"}


def distances(model: Model, x: Tensor) -> np.ndarray:
    model_distances = model.distance(x)
    assert model_distances is not None  # `main` skips models without familiarity
    return model_distances.numpy()


def auroc(own: np.ndarray, other: np.ndarray) -> float:
    return float(roc_auc_score(np.r_[np.zeros(len(own)), np.ones(len(other))], np.r_[own, other]))


def auroc_cell(model: Model, own: np.ndarray, other: np.ndarray) -> str:
    assert model.familiarity is not None
    return f"{auroc(own, other):.4f} ({(other > model.familiarity.threshold).mean():.0%})"


def as_file(picture: Tensor) -> bytes:
    """Return an image (1 or 3, H, W) from 0 to 1 as the bytes of a PNG file."""
    array = (picture.permute(1, 2, 0) * 255).round().byte().numpy()
    file = io.BytesIO()
    Image.fromarray(array.squeeze()).save(file, "PNG")
    return file.getvalue()


def _enlarged(x: Tensor, factor: int) -> Tensor:
    return F.interpolate(x, scale_factor=factor, mode="bicubic").clamp(0, 1)


def _scikit_digits() -> Tensor:
    return _enlarged(torch.tensor(load_digits().images[:COUNT, None] / 16).float(), 10)


def count_unfamiliar(model: Model, pictures: Tensor) -> int:
    """Return the number of images that `predict` reports as unfamiliar."""
    scores = [farthest_score(model, read_views(model, as_file(picture), "picture")) for picture in pictures.clamp(0, 1)]
    return sum(score is not None and score.unfamiliar for score in scores)


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(1)
    rows: list[str] = []
    alarms: list[str] = []
    picture_rows: list[str] = []
    photos = photographs()
    for name in shipped_files.pretrained_names():
        model, rng = Model.load(shipped_files.pretrained_file(name)), torch.Generator().manual_seed(0)
        if model.familiarity is None:  # only classifiers have a familiarity
            continue
        images = own_images(model)
        own = distances(model, evenly_spaced(images, 1000))
        cells = [
            "-"
            if OWN_DATA.get(kind) == data_name(model)
            else auroc_cell(model, own, distances(model, make(model, images, rng)))
            for kind, make in KINDS.items()
        ]
        rows.append(f"| {name} | {' | '.join(cells)} |")
        threshold = model.familiarity.threshold
        is_beyond = own > threshold
        alarms.append(f"| {name} | {threshold:.3f} | {len(own):,} | {is_beyond.sum()} ({is_beyond.mean():.1%}) |")
        if data_name(model) == "mnist":
            counts = [
                count_unfamiliar(model, make(evenly_spaced(images), photos, rng)) for make in PICTURE_KINDS.values()
            ]
            picture_rows.append(f"| {name} | {' | '.join(map(str, counts))} |")
        print(rows[-1], alarms[-1], flush=True)
    head = HEAD.format(
        version=__version__,
        torch=torch.__version__,
        count=COUNT,
        grid=GRID,
        kinds=" | ".join(KINDS),
        rules="|".join(["---:"] * len(KINDS)),
    )
    tail = TAIL.format(
        alarms="\n".join(alarms),
        read="\n".join(picture_rows),
        count=COUNT,
        kinds=" | ".join(PICTURE_KINDS),
        rules="|".join(["---:"] * len(PICTURE_KINDS)),
    )
    date = time.strftime("%Y-%m-%d")
    PAGE.write_text(f"{head}{chr(10).join(rows)}\n{tail}\nMeasured {date}.\n", encoding="utf-8")
    print(f"wrote {PAGE.name}")


if __name__ == "__main__":
    main()
