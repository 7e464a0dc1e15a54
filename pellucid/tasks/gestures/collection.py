"""The user's own pictures in class folders, split and checked, and class weights for imbalanced classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pellucid.base.errors import PellucidError
from pellucid.data import Dataset
from pellucid.data.quality import UnreadableFile
from pellucid.recipe.material import Material
from pellucid.tasks.pictures import HELD_OUT_KEY, short_digest


def class_weights(counts: Sequence[int]) -> tuple[float, ...]:
    """Return the weight n / (classes * count) of each class: mean 1 over all n pictures, equal sums over the classes.

    counts: the number of pictures of each class. Raises PellucidError for a class without pictures. Source: King, Zeng
    2001, "Logistic Regression in Rare Events Data", section 4; "balanced" in scikit-learn.
    """
    if not counts or min(counts) < 1:
        raise PellucidError(f"class_weights: the classes have {list(counts)} pictures; each needs at least one")
    return tuple(sum(counts) / (len(counts) * count) for count in counts)


def imbalance(counts: Sequence[int]) -> float:
    """Return the size of the largest class divided by the size of the smallest; infinity if the smallest is empty."""
    return max(counts) / min(counts) if min(counts) else float("inf")


@dataclass(frozen=True)
class DuplicatePair:
    """Two near duplicates; exact: whether the files have the same bytes.

    similarity: their correlation after alignment. classes, parts: of the first and the second file; a part is a split,
    "train", "validation" or "test".
    """

    first: str
    second: str
    similarity: float
    exact: bool
    classes: tuple[str, str]
    parts: tuple[str, str]


@dataclass(frozen=True)
class BlurryPicture:
    """A blurry picture and its sharpness; sharp photos have values of 1 to 3."""

    file: str
    sharpness: float


@dataclass(frozen=True, eq=False)
class SplitFiles:
    """The files and pictures of one split (training, validation or test), in the same order.

    digests: the SHA-256 of each file's bytes. groups: an integer for each picture, equal for near duplicates.
    """

    files: tuple[str, ...]
    images: Dataset
    digests: tuple[bytes, ...]
    groups: tuple[int, ...]

    def counts(self) -> list[int]:
        """Return the number of pictures of each class."""
        return torch.bincount(self.images.y, minlength=len(self.images.classes)).tolist()


@dataclass(frozen=True, eq=False)
class Collection:
    """The contents of a folder of class folders.

    path: the folder or zip. has_test_folder: whether it has a test part; otherwise its pictures were split when they
    were read. duplicates: the pairs that connect each group of near duplicates, k - 1 for k pictures. n_groups: the
    number of these groups. n_leaked: the number of held-out pictures with a near duplicate in the training part, and of
    test pictures with a near duplicate in the validation part. File names are relative to `path`.
    """

    path: str
    has_test_folder: bool
    train: SplitFiles
    validation: SplitFiles | None
    test: SplitFiles
    corrupt: tuple[UnreadableFile, ...]
    duplicates: tuple[DuplicatePair, ...]
    n_groups: int
    n_leaked: int
    blurry: tuple[BlurryPicture, ...]
    warnings: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, sorted."""
        return self.train.images.classes

    def parts(self) -> dict[str, SplitFiles]:
        """Return the splits by name: train, validation if there is one, and test."""
        validation = {} if self.validation is None else {"validation": self.validation}
        return {"train": self.train, **validation, "test": self.test}

    def held_out_metadata(self) -> dict[str, Any]:
        """Return the digests of the test pictures, for the metadata in a model's `preprocess`.

        Returns {} if the test pictures have a folder of their own.

        They identify the test pictures even after pictures are added or renamed; see `short_digest`.
        """
        return (
            {}
            if self.has_test_folder
            else {HELD_OUT_KEY: sorted({short_digest(digest) for digest in self.test.digests})}
        )

    def material(self) -> Material[Dataset]:
        """Return the pictures as the data of a training."""
        validation = None if self.validation is None else self.validation.images
        return Material(self.train.images, validation, self.test.images)
