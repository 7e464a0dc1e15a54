"""The data sets of the benchmark, drawn from a seed."""

from functools import cache
from io import BytesIO
from zipfile import ZipFile

import numpy as np
import torch
from PIL import Image

from pellucid.data import Dataset, data_root, float_images, load, load_splits
from pellucid.data.augment.resample import affine_map, resample
from pellucid.data.source import Arrays
from pellucid.training.examples import examples

CIFAR_CLASSES = ("airplane", "automobile", "frog", "horse", "ship")


def material(name: str, seed: int) -> tuple[Dataset, Dataset]:
    """Return training and validation data.

    "digits": 1,297 and 500 examples. "mnist": 3,000 and 1,000 examples. "signs": four fifths of the training data,
    sorted by class, and the test data. "places": digits in one of the four corners of an empty image, in 40 classes,
    one for each digit and corner. "clusters": 2,400 and 800 points of 30 random clusters in 16 dimensions. "arrows":
    1,200 and 600 arrows. "cifar": 3,900 and 600 images of five classes of CIFAR-10.
    """
    rng = torch.Generator().manual_seed(seed)
    if name == "arrows":
        return arrows(1200, seed), arrows(600, seed + 10_000)
    if name == "clusters":
        return _clusters(rng)
    parts = (cifar(),) if name == "cifar" else load_parts("digits" if name == "places" else name)
    order = torch.randperm(len(parts[0]), generator=rng)
    if name == "cifar":
        return parts[0].subset(order[600:]), parts[0].subset(order[:600])
    if name == "signs":
        return parts[0].subset(order[: len(order) * 4 // 5].sort().values), parts[1]
    if name == "mnist":
        return parts[0].subset(order[:3000]), parts[0].subset(order[3000:4000])
    train, validation = parts[0].subset(order[500:]), parts[0].subset(order[:500])
    return (
        (_place_in_corners(train, rng), _place_in_corners(validation, rng)) if name == "places" else (train, validation)
    )


@cache
def load_parts(name: str) -> tuple[Dataset, ...]:
    """Return the parts of a data set: one of "digits", two (training and test data) of "mnist" and "signs"."""
    if name == "digits":
        from sklearn.datasets import load_digits

        x, y = load_digits(return_X_y=True)
        return (Dataset.from_arrays((x.reshape(-1, 1, 8, 8) * 255 / 16).astype("uint8"), y, name="digits"),)
    parts = load_splits(data_root() / name, size=(32, 32)) if name == "signs" else load(name)
    return (parts.train, parts.test)


def _place_in_corners(data: Dataset, rng: torch.Generator) -> Dataset:
    """Return two images of 16 x 16 pixels for each digit, with the digit in two different corners."""
    x, y = data.x.repeat(2, 1, 1, 1), data.y.repeat(2)
    corner = torch.cat([order := torch.randint(0, 4, (len(data),), generator=rng), (order + 1) % 4])
    placed = torch.zeros(len(x), 1, 16, 16, dtype=x.dtype)
    for k in range(4):
        top, left = 8 * (k // 2), 8 * (k % 2)
        placed[corner == k, :, top : top + 8, left : left + 8] = x[corner == k]
    return Dataset.from_arrays(placed, y * 4 + corner, classes=[f"{n} {c}" for n in range(10) for c in "abcd"])


def _clusters(rng: torch.Generator) -> tuple[Dataset, Dataset]:
    """Return 2,400 and 800 points, normally distributed around 30 centres; the centre is the class."""
    centres = 1.5 * torch.randn(30, 16, generator=rng)
    y = torch.randint(0, 30, (3200,), generator=rng)
    x = centres[y] + torch.randn(len(y), 16, generator=rng)
    data = Dataset.from_arrays(x, y, classes=[str(k) for k in range(30)], name="clusters")
    return data.subset(range(2400)), data.subset(range(2400, 3200))


@cache
def cifar(n_per_class: int = 900) -> Dataset:
    """Return the first `n_per_class` training images of each of five classes of CIFAR-10."""
    with ZipFile(data_root() / "cifar10" / "cifar10.zip") as archive:
        x = [
            np.asarray(Image.open(BytesIO(archive.read(f"train/{name}/{number:04d}.jpg"))).convert("RGB"))
            for name in CIFAR_CLASSES
            for number in range(n_per_class)
        ]
    y = np.arange(len(CIFAR_CLASSES)).repeat(n_per_class)
    return Dataset.from_arrays(np.stack(x).transpose(0, 3, 1, 2).copy(), y, classes=CIFAR_CLASSES, name="cifar10")


def arrows(count: int, seed: int) -> Dataset:
    """Return `count` noisy images of 16 x 16 pixels: arrows in four classes, left, right, up and down."""
    rng = torch.Generator().manual_seed(seed)
    shaft, head = torch.zeros(16, 16), torch.zeros(16, 16)
    shaft[7:9, 3:13] = 1
    for k in range(4):
        head[7 - k : 9 + k, 3 + k] = 1
    left = (shaft + head).clamp(max=1)
    by_class = torch.stack([left, left.flip(1), left.t(), left.t().flip(0)])
    y = torch.randint(0, 4, (count,), generator=rng)
    x = by_class[y]
    moves = torch.randint(-2, 3, (count, 2), generator=rng).tolist()
    x = torch.stack([picture.roll((down, right), (0, 1)) for picture, (down, right) in zip(x, moves, strict=True)])
    x = x * (0.5 + 0.5 * torch.rand(count, 1, 1, generator=rng)) + 0.25 * torch.randn(x.shape, generator=rng)
    return Dataset.from_arrays(x[:, None], y, classes=("left", "right", "up", "down"))


def friedman(seed: int) -> tuple[Arrays, Arrays]:
    """Return 2,000 and 600 examples: 10 numbers, and a noisy function of 5 of them (Friedman 1991, equation 61)."""
    from sklearn.datasets import make_friedman1

    x, y = make_friedman1(2600, noise=1.0, random_state=seed)
    x, y = torch.from_numpy(x * 12**0.5 - 3**0.5).float(), torch.from_numpy((y - 14.4) / 5).float()  # standardised
    return examples(x[:2000], y[:2000]), examples(x[2000:], y[2000:])


def rotated_digits(seed: int) -> tuple[Arrays, Arrays]:
    """Return 3,000 and 1,000 rotated digits of MNIST; the target is the rotation: 1 is 45 degrees, -1 is -45."""
    rng = torch.Generator().manual_seed(seed)
    train, validation = material("mnist", seed)
    return _rotate(train, rng), _rotate(validation, rng)


def _rotate(data: Dataset, rng: torch.Generator) -> Arrays:
    rotation = 2 * torch.rand(len(data), generator=rng) - 1
    zero = torch.zeros(len(data))
    matrix, offset = affine_map(45 * rotation, torch.zeros(len(data), 2), zero, zero + 1)
    x = resample(float_images(data.x), matrix, offset)
    return examples((x - 0.13) / 0.31, rotation)  # standardised
