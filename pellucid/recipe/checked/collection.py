"""The user's own pictures in class folders, split and checked, and class weights for imbalanced classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.tensors import as_indices
from pellucid.data import Dataset
from pellucid.data.quality import UnreadableFile
from pellucid.recipe.material import Material

HELD_OUT_KEY = "held_out"  # key in a model's `preprocess` of the list of short digests of the held-out files


def short_digest(digest: bytes) -> str:
    """Return the first 64 bits of a file's SHA-256 in hexadecimal, as in a model's list of held-out files."""
    return digest.hex()[:16]


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


@dataclass(frozen=True, eq=False, repr=False)
class CheckedPart(Dataset):
    """The pictures of one split (training, validation or test).

    files: the file of each picture. groups: an integer for each picture, equal for near duplicates. preprocess: entries
    for the preprocessing of a model that is trained on the part: HELD_OUT_KEY with the digests of the test pictures,
    which identify these even after pictures are added or renamed; {} if the test pictures have a folder of their own.
    """

    files: tuple[str, ...] = ()
    groups: tuple[int, ...] = ()
    preprocess: Mapping[str, Any] = field(default_factory=dict)

    def subset(self, indices: Sequence[int] | Tensor) -> Self:
        """Return the examples at `indices`, in that order; raises PellucidError for an index out of range."""
        part = super().subset(indices)
        selected_indices = as_indices(indices, len(self), f"subset of {self.name}").tolist()
        files = tuple(self.files[k] for k in selected_indices)
        return replace(part, files=files, groups=tuple(self.groups[k] for k in selected_indices))

    def counts(self) -> list[int]:
        """Return the number of pictures of each class."""
        return torch.bincount(self.y, minlength=len(self.classes)).tolist()


@dataclass(frozen=True, eq=False)
class Collection(Material[CheckedPart]):
    """The contents of a folder of class folders, as the data of a training.

    train, validation, test: see `Material`. path: the folder or zip. has_test_folder: whether it has a test part;
    otherwise its pictures were split when they were read. duplicates: the pairs that connect each group of near
    duplicates, k - 1 for k pictures. n_groups: the number of these groups. n_leaked: the number of held-out pictures
    with a near duplicate in the training part, and of test pictures with a near duplicate in the validation part. File
    names are relative to `path`.
    """

    path: str
    has_test_folder: bool
    corrupt: tuple[UnreadableFile, ...]
    duplicates: tuple[DuplicatePair, ...]
    n_groups: int
    n_leaked: int
    blurry: tuple[BlurryPicture, ...]
    warnings: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, sorted."""
        return self.train.classes

    def parts(self) -> dict[str, CheckedPart]:
        """Return the splits by name: train, validation if there is one, and test."""
        validation = {} if self.validation is None else {"validation": self.validation}
        return {"train": self.train, **validation, "test": self.test}
