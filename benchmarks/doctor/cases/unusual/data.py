"""Small data of all tasks: drawn samples of the library and scikit-learn's digits, split by a seed."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from benchmarks.doctor.material import load_parts
from pellucid.data import Dataset
from pellucid.data.samples.cells import blood_smear
from pellucid.data.samples.portraits import face
from pellucid.data.samples.scenes import CLASSES, street
from pellucid.data.source import Arrays, Batch
from pellucid.ops.image_objects import Objects

CELLS = ("RBC", "WBC", "Platelets")
CELL_SIZE, STREET_SIZE, FACE_SIDE = (72, 96), (48, 64), 48
POINTS = ("left_outer", "left_inner", "right_inner", "right_outer", "nose", "left_mouth", "right_mouth")
OF_68 = (36, 39, 42, 45, 30, 48, 54)  # where a face's 68 key-points have these
SWAPS = ((0, 3), (1, 2), (5, 6))

Source = TypeVar("Source")


class Parts(NamedTuple):
    """Training, validation and test data."""

    train: Any
    validation: Any
    test: Any


@dataclass(frozen=True, eq=False)
class Boxes:
    """Images in memory with the objects in each."""

    images: Tensor
    objects: tuple[Objects, ...]
    classes: tuple[str, ...] = CELLS

    @property
    def checksum(self) -> str:
        """SHA-256 of images and boxes."""
        digest = hashlib.sha256(self.images.numpy().tobytes())
        for one in self.objects:
            digest.update(one.boxes.numpy().tobytes() + one.labels.numpy().tobytes())
        return digest.hexdigest()

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def batch(self, indices: Sequence[int], rng: torch.Generator) -> Batch:
        """Return the images at `indices` and their objects."""
        return Batch(self.images[list(indices)], [self.objects[int(k)] for k in indices])

    def but(self, change: Callable[[Objects], Objects], images: Tensor | None = None) -> "Boxes":
        """Return the source with changed objects, and perhaps with other images."""
        return Boxes(self.images if images is None else images, tuple(map(change, self.objects)), self.classes)

    def subset(self, indices: Tensor) -> "Boxes":
        """Return the images at `indices`."""
        return Boxes(self.images[indices], tuple(self.objects[k] for k in indices.tolist()), self.classes)


def arrays(x: Tensor, y: Tensor, classes: tuple[str, ...] | None = None) -> Arrays:
    """Return a source of tensors in memory."""
    return Arrays(x, y, classes, hashlib.sha256(x.numpy().tobytes() + y.numpy().tobytes()).hexdigest())


def split(data: Any, seed: int, sizes: tuple[int, int, int]) -> Parts:
    """Return parts of these sizes, drawn by a seed."""
    order, parts, begin = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed)), [], 0
    for size in sizes:
        index = order[begin : begin + size]
        taken = data.subset(index) if isinstance(data, Boxes | Dataset) else take(data, index)
        parts.append(taken)
        begin += size
    return Parts(*parts)


def take(data: Arrays, index: Tensor) -> Arrays:
    """Return the examples at `index`."""
    return arrays(data.x[index], data.y[index], data.classes)


def _pixels(image: Any) -> Tensor:
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)


@cache
def _cells() -> Boxes:
    height, width = CELL_SIZE
    images, objects = [], []
    for seed in range(330):
        image, found = blood_smear(seed, width, height, red=4)
        boxes = torch.tensor([box for _, *box in found], dtype=torch.float32).reshape(-1, 4)
        limit = torch.tensor([width, height, width, height], dtype=torch.float32)
        labels = torch.tensor([CELLS.index(name) for name, *_ in found])
        images.append(_pixels(image))
        objects.append(Objects(torch.minimum(boxes.clamp(min=0), limit), labels))
    return Boxes(torch.stack(images), tuple(objects))


@cache
def _streets() -> Arrays:
    height, width = STREET_SIZE
    drawn = [street(seed, width, height) for seed in range(330)]
    masks = torch.stack([torch.from_numpy(mask).long() for _, mask in drawn])
    return arrays(torch.stack([_pixels(image) for image, _ in drawn]), masks, tuple(CLASSES))


@cache
def _faces() -> Arrays:
    drawn = [face(seed, FACE_SIDE, 0.3) for seed in range(460)]
    points = torch.tensor([[[*points[k], 2.0] for k in OF_68] for _, points in drawn], dtype=torch.float32)
    return arrays(torch.stack([_pixels(image) for image, _ in drawn]), points)


def cells(seed: int) -> Parts:
    """Return 200, 50 and 80 blood smears with the boxes of their cells."""
    return split(_cells(), seed, (200, 50, 80))


def streets(seed: int) -> Parts:
    """Return 200, 50 and 80 streets with the class of each pixel."""
    return split(_streets(), seed, (200, 50, 80))


def faces(seed: int) -> Parts:
    """Return 300, 60 and 100 faces with seven key-points."""
    return split(_faces(), seed, (300, 60, 100))


def digits(seed: int) -> Parts:
    """Return 1,000, 300 and 497 digits."""
    return split(load_parts("digits")[0], seed, (1000, 300, 497))


def numbers(seed: int) -> Parts:
    """Return 700, 200 and 300 examples of ten numbers and a noisy function of five of them (Friedman 1991)."""
    from sklearn.datasets import make_friedman1

    x, y = make_friedman1(1200, noise=1.0, random_state=0)
    inputs = torch.from_numpy(x * 12**0.5 - 3**0.5).float()
    return split(arrays(inputs, torch.from_numpy((y - 14.4) / 5).float()[:, None]), seed, (700, 200, 300))


def tinted(seed: int) -> Parts:
    """Return the digits 0 to 4 on a red or on a blue ground, of ten classes by digit and colour."""
    return split(_tinted(), seed, (500, 150, 250))


@cache
def _tinted() -> Dataset:
    plain = load_parts("digits")[0]
    kept = plain.subset((plain.y < 5).nonzero().flatten())
    blue = torch.arange(len(kept)) % 2
    ground = torch.tensor([[180.0, 40.0, 20.0], [20.0, 40.0, 180.0]])[blue][:, :, None, None]
    shade = kept.x.float() / 255
    x = (ground * (1 - shade) + 255 * shade).to(torch.uint8)
    return Dataset.from_arrays(x, 2 * kept.y + blue, classes=[f"{c} {n}" for n in range(5) for c in ("red", "blue")])


def sided(seed: int) -> Parts:
    """Return the digits 2 to 7 as they are and mirrored, of two classes: right and left."""
    return split(_sided(), seed, (600, 200, 250))


@cache
def _sided() -> Dataset:
    plain = load_parts("digits")[0]
    kept = plain.subset(((plain.y >= 2) & (plain.y <= 7)).nonzero().flatten())
    left = torch.arange(len(kept)) % 2
    x = torch.where(left[:, None, None, None] == 1, kept.x.flip(3), kept.x)
    return Dataset.from_arrays(x, left, classes=["right", "left"])


def relabelled(data: Dataset, y: Tensor) -> Dataset:
    """Return the images with other labels."""
    return replace(data, y=y, checksum=hashlib.sha256(y.numpy().tobytes()).hexdigest())


def repictured(data: Dataset, x: Tensor) -> Dataset:
    """Return the labels with other images."""
    return replace(data, x=x, checksum=hashlib.sha256(x.contiguous().numpy().tobytes()).hexdigest())
