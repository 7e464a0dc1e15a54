"""What a recipe's [data] table defines: images to train on, to validate with and to test on."""

import os
from dataclasses import dataclass

import torch

from pellucid.data import CATALOGUE, Dataset, Splits, load
from pellucid.errors import PellucidError
from pellucid.layers.base import Shape
from pellucid.recipe.tables import Data

XOR = "xor"
# Data sets whose images have one shape, so that a summary needs no data.
SHAPES: dict[str, Shape] = {
    XOR: (2, 1, 1), "digits": (1, 8, 8), "mnist": (1, 28, 28), "fashion-mnist": (1, 28, 28),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Material:
    """Training, validation and test data; `validation` is None where the recipe has no validation part."""

    train: Dataset
    validation: Dataset | None
    test: Dataset

    @property
    def checksums(self) -> dict[str, str]:
        """The SHA-256 of each part that there is, by its name."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {role: part.checksum for role, part in parts.items() if part is not None}


def load_material(table: Data, seed: int, root: str | os.PathLike[str] | None = None) -> Material:
    """Load, limit and split the data of a recipe; PellucidError where they are missing or too few."""
    splits = load_splits(table, root)
    train, validation = splits.train, None
    if table.limit:
        if table.limit > len(train):
            raise PellucidError(f"data.limit is {table.limit}, but {table.name} has {len(train)} training images")
        train = train.subset(torch.arange(table.limit))
    if table.validation:
        parts = train.split(table.validation, seed)
        train, validation = parts.train, parts.test
    return Material(train, validation, splits.test)


def load_splits(table: Data, root: str | os.PathLike[str] | None = None) -> Splits:
    """Load the training and test parts of the data set or folder that the table names."""
    if table.name == XOR:
        return exclusive_or()
    entry = CATALOGUE.get(table.name)
    if entry is not None and entry.kind != "images":
        if table.size:
            raise PellucidError(f"data.size: {table.name} comes in one size; leave it at 0")
        return load(table.name, root)
    return load(table.name, root, size=(table.size, table.size) if table.size else None, mode=table.mode)


def input_shape(table: Data, root: str | os.PathLike[str] | None = None) -> Shape:
    """Return the shape of one image, without reading any where the table alone determines it."""
    if table.name in SHAPES:
        return SHAPES[table.name]
    if table.size:
        return (1 if table.mode == "L" else 3, table.size, table.size)
    if table.name == "cifar10":  # all its files have one size, which other folders need not
        return (1 if table.mode == "L" else 3, 32, 32)
    return tuple(load_splits(table, root).train.x.shape[1:])


def exclusive_or() -> Splits:
    """Return the four points of exclusive or, inputs and classes 0 and 1, as both parts."""
    points = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    four = Dataset.from_arrays(points, torch.tensor([0, 1, 1, 0]), ("0", "1"), XOR)
    return Splits(four, four)
