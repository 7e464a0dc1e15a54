"""The data of the benchmark of mistakes."""

from functools import cache
from io import BytesIO
from zipfile import ZipFile

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.doctor.material import load_parts, material
from pellucid.data import Augment, Dataset, data_root, float_images

CIFAR_CLASSES = ("airplane", "automobile", "frog", "horse", "ship")


def parts(name: str, seed: int) -> tuple[Dataset, Dataset]:
    """Return training and validation data.

    name: "digits", "mnist", "signs" (sign language, 32 x 32), "places" (digits in one of four corners, 40 classes),
    "cifar" or "arrows".
    """
    if name == "arrows":
        return arrows(1200, seed), arrows(600, seed + 10_000)
    if name == "cifar":
        data = cifar()
        order = torch.randperm(len(data), generator=generator(seed))
        return data.subset(order[600:]), data.subset(order[:600])
    return material(name, seed)


def generator(seed: int) -> torch.Generator:
    """Return a random generator with the given seed."""
    return torch.Generator().manual_seed(seed)


def digits() -> Dataset:
    """Return all 1,797 digits of 8 x 8 pixels."""
    return load_parts("digits")[0]


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
    rng = generator(seed)
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
    return to_dataset(x[:, None], y, ("left", "right", "up", "down"))


def to_dataset(x: Tensor, y: Tensor, classes: tuple[str, ...]) -> Dataset:
    """Return a data set of the arrays."""
    return Dataset.from_arrays(x, y, classes=classes)


def to_floats(data: Dataset) -> Dataset:
    """Return the data with images as floats from 0 to 1."""
    return to_dataset(float_images(data.x), data.y, data.classes)


def with_pictures(data: Dataset, x: Tensor) -> Dataset:
    """Return the data with the images replaced by x."""
    return to_dataset(x, data.y, data.classes)


def with_labels(data: Dataset, y: Tensor) -> Dataset:
    """Return the data with the labels replaced by y."""
    return to_dataset(data.x, y, data.classes)


def split(data: Dataset, share: float, seed: int) -> tuple[Dataset, Dataset]:
    """Return the data divided at random into two parts, of which the second has a fraction `share` of the examples."""
    order, count = torch.randperm(len(data), generator=generator(seed)), round(len(data) * share)
    return data.subset(order[count:]), data.subset(order[:count])


def augmented_copies(data: Dataset, copies: int, augment: Augment, seed: int) -> Dataset:
    """Return `copies` independently augmented copies of each image, with the copies of one image in succession."""
    repeated = to_floats(data).subset(torch.arange(len(data)).repeat_interleave(copies))
    return with_pictures(repeated, augment(repeated.x, generator(seed)))


def frames(data: Dataset, count: int, seed: int) -> Dataset:
    """Return `count` frames for each image: a clip in which it drifts by up to one pixel per frame, with noise."""
    rng, clips = generator(seed), []
    for picture in float_images(data.x):
        offset = torch.zeros(2, dtype=torch.int64)
        for _ in range(count):
            offset = (offset + torch.randint(-1, 2, (2,), generator=rng)).clamp(-2, 2)
            frame = picture.roll((int(offset[0]), int(offset[1])), (-2, -1))
            clips.append(frame + 0.03 * torch.randn(frame.shape, generator=rng))
    return to_dataset(torch.stack(clips), data.y.repeat_interleave(count), data.classes)
