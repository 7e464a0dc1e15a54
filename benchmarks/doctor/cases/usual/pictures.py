"""Changes of images and labels."""

import torch
from torch import Tensor

from pellucid.data import Augment, Dataset, float_images


def generator(seed: int) -> torch.Generator:
    """Return a random generator with the given seed."""
    return torch.Generator().manual_seed(seed)


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
